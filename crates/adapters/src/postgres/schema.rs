//! The platform's tables for diesel's query builder: the columns that built statements use. The whole tables are in
//! `migrations/`.

diesel::table! {
    customer_tag (id) {
        id -> Text,
        name -> Text,
        slug -> Text,
        color -> Nullable<Text>,
        description -> Nullable<Text>,
        created_at -> Timestamptz,
    }
}

diesel::table! {
    customer_tag_assignment (customer_id, tag_id) {
        customer_id -> Text,
        tag_id -> Text,
        assigned_by -> Text,
        assigned_at -> Timestamptz,
    }
}

diesel::table! {
    customer_note (id) {
        id -> Text,
        customer_id -> Text,
        author_id -> Text,
        booking_id -> Nullable<Text>,
        content -> Text,
        created_at -> Timestamptz,
    }
}
