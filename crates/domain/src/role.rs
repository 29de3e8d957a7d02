//! Roles, their order, and the calling user (the actor).
//!
//! Source: contract, "Sessions and roles"; the stored form: `docs/SESSIONS.md`, "Role".

use crate::ids::UserId;

/// What a signed-in user may do. Ordered: each role may do what the ones before it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Whoever books; also every missing or unknown role.
    Customer,
    /// Works in a salon, without access to the directory.
    Staff,
    /// The front desk.
    Receptionist,
    /// May lift gates and make tags.
    Manager,
    /// Owns a salon.
    Owner,
    /// Builds the platform.
    Developer,
}

impl Role {
    /// Every role, lowest first.
    pub const ALL: [Self; 6] =
        [Self::Customer, Self::Staff, Self::Receptionist, Self::Manager, Self::Owner, Self::Developer];

    /// The role's name as it is stored.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Customer => "customer",
            Self::Staff => "staff",
            Self::Receptionist => "receptionist",
            Self::Manager => "manager",
            Self::Owner => "owner",
            Self::Developer => "developer",
        }
    }

    /// Reads `user.role` as it is stored: null, empty and unknown count as [`Role::Customer`]; of several joined
    /// by commas (Better Auth's admin plugin) the highest known one counts. Case-sensitive, no trimming.
    #[must_use]
    pub fn from_stored(stored: Option<&str>) -> Self {
        stored
            .unwrap_or_default()
            .split(',')
            .filter_map(|name| Self::ALL.into_iter().find(|role| role.as_str() == name))
            .max()
            .unwrap_or(Self::Customer)
    }
}

/// Who is calling: a signed-in user and the role they had when the request began.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Actor {
    /// The user's id; the author of notes, the `actor_id` of audit entries.
    pub id: UserId,
    /// The user's role.
    pub role: Role,
    /// The administrator who acts as this user, if the platform says that somebody does.
    pub impersonator: Option<UserId>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stored_roles_are_read_as_specified() {
        let table = [
            (None, Role::Customer),
            (Some(""), Role::Customer),
            (Some("customer"), Role::Customer),
            (Some("staff"), Role::Staff),
            (Some("receptionist"), Role::Receptionist),
            (Some("manager"), Role::Manager),
            (Some("owner"), Role::Owner),
            (Some("developer"), Role::Developer),
            (Some("admin"), Role::Customer),
            (Some("Manager"), Role::Customer),
            (Some(" manager"), Role::Customer),
            (Some("user,manager"), Role::Manager),
            (Some("owner,staff"), Role::Owner),
            (Some("staff, owner"), Role::Staff),
            (Some(",,"), Role::Customer),
        ];
        for (stored, role) in table {
            assert_eq!(Role::from_stored(stored), role, "{stored:?}");
        }
    }

    #[test]
    fn roles_are_ordered_as_listed() {
        assert!(Role::ALL.is_sorted());
        assert!(Role::Receptionist < Role::Manager);
    }
}
