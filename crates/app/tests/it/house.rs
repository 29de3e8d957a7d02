//! House rules that the compiler does not check (docs/ARCHITECTURE.md).

use std::{
    fs,
    path::{Path, PathBuf},
};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn sources(folder: &str) -> Vec<(PathBuf, String)> {
    fn visit(folder: &Path, found: &mut Vec<(PathBuf, String)>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() && path.file_name().is_some_and(|name| name != "node_modules") {
                visit(&path, found);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push((path.clone(), fs::read_to_string(&path).unwrap()));
            }
        }
    }
    let mut found = Vec::new();
    visit(&root().join(folder), &mut found);
    assert!(!found.is_empty());
    found
}

#[test]
fn every_module_begins_with_a_description() {
    for (path, text) in sources("crates") {
        assert!(text.starts_with("//!"), "{} has no //! at its top", path.display());
    }
}

#[test]
fn dependencies_point_inwards() {
    let manifest = |name: &str| fs::read_to_string(root().join(format!("crates/{name}/Cargo.toml"))).unwrap();
    let normal = |name: &str| {
        let manifest = manifest(name);
        let (_, rest) = manifest.split_once("[dependencies]").unwrap();
        rest.split("\n[")
            .next()
            .unwrap()
            .lines()
            .filter_map(|line| line.split(['.', ' ', '=']).next())
            .map(str::to_owned)
            .filter(|name| !name.is_empty())
            .collect::<Vec<_>>()
    };
    assert_eq!(normal("domain"), ["async-trait", "jiff", "mockall", "thiserror", "time", "ulid"]);
    let adapters = normal("adapters");
    assert!(adapters.contains(&"crm-domain".to_owned()));
    assert!(!adapters.iter().any(|name| name == "crm-app" || name == "actix-web"), "{adapters:?}");
}

#[test]
fn sql_stays_in_the_adapters() {
    for (path, text) in sources("crates/app/src").into_iter().chain(sources("crates/domain/src")) {
        for word in ["SELECT ", "INSERT INTO", "UPDATE \"", "DELETE FROM", "diesel::"] {
            assert!(!text.contains(word), "{} holds {word:?}", path.display());
        }
    }
}

#[test]
fn adapter_types_are_named_only_where_they_are_configured() {
    for (path, text) in sources("crates/app/src") {
        // The name as a target of log lines does not use the crate.
        let text = text.replace("\"crm_adapters\"", "");
        let wires = [
            "bootstrap.rs",
            "config.rs",
            "config/reader.rs",
            "commands/check.rs",
            "commands/directory.rs",
            "commands/exit_code.rs",
            "commands/indexes.rs",
            "commands/migrate.rs",
            "commands/serve.rs",
        ]
        .iter()
        .any(|name| path.ends_with(name));
        assert!(wires || !text.contains("crm_adapters"), "{} names the adapters", path.display());
    }
}

#[test]
fn sources_contain_no_ignored_tests_todos_or_sleeps() {
    for (path, text) in sources("crates") {
        if path.ends_with("house.rs") {
            continue;
        }
        for word in ["#[ignore", "todo!(", "unimplemented!(", "thread::sleep", "time::sleep"] {
            // An operator configures the delay before a shutdown.
            let allowed = word == "time::sleep" && path.ends_with("src/shutdown.rs");
            assert!(allowed || !text.contains(word), "{} holds {word:?}", path.display());
        }
    }
}
