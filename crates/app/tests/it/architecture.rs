//! The direction of imports: no cycle between files, and no import against the layers of `docs/ARCHITECTURE.md`.
//!
//! The test reads the paths that begin with `crate::`, `super::` or `self::` in every file of a crate and resolves each to
//! the deepest module file that it names. Comments, strings and the test modules at the end of files do not count.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

/// The layers of the app, from top to bottom. A file imports from its own layer or from a lower one.
const APP_LAYERS: &[&[&str]] = &[
    &["main.rs", "cli.rs", "commands.rs", "commands/"],
    &["bootstrap.rs"],
    &["http.rs", "http/server.rs", "http/server/"],
    &["http/routes.rs", "http/routes/"],
    &["http/middleware.rs", "http/middleware/", "http/handlers.rs", "http/handlers/"],
    &["http/openapi.rs", "http/openapi/document.rs", "http/openapi/examples.rs"],
    &["http/request.rs", "http/request/"],
    &["http/response.rs", "http/response/"],
    &["http/openapi/schemas.rs", "http/connection.rs", "http/connection/"],
    &["services.rs"],
    &["shutdown.rs", "observability.rs", "observability/"],
    &["config.rs", "config/"],
    &["build.rs"],
];

/// Layers of the domain, from top to bottom: use cases, the unit of work, ports, and below them types and errors.
const DOMAIN_LAYERS: &[&[&str]] = &[
    &["testing.rs"],
    &[
        "customer/usecases.rs",
        "directory/usecases.rs",
        "history/usecases.rs",
        "idempotency/usecases.rs",
        "kpis/usecases.rs",
        "note/usecases.rs",
        "tag/usecases.rs",
        "timeline/usecases.rs",
    ],
    &["unit_of_work.rs"],
    &[
        "customer/ports.rs",
        "directory/ports.rs",
        "history/ports.rs",
        "idempotency/ports.rs",
        "kpis/ports.rs",
        "note/ports.rs",
        "tag/ports.rs",
        "timeline/ports.rs",
    ],
];

/// Modules of one layer that must not import each other.
const STRANGERS: &[(&str, &str)] = &[("http/handlers", "http/middleware"), ("http/middleware", "http/handlers")];

/// The files that each file of a crate imports, each with one path that names it.
type Imports = BTreeMap<String, BTreeMap<String, String>>;

#[test]
fn no_files_import_each_other_in_a_cycle() {
    for krate in ["domain", "adapters", "app"] {
        let cycles = find_cycles(&imports_of(krate));
        assert!(cycles.is_empty(), "{krate}: cycles of imports:\n{}", cycles.join("\n"));
    }
}

#[test]
fn imports_point_downwards() {
    for (krate, layers) in [("app", APP_LAYERS), ("domain", DOMAIN_LAYERS)] {
        let wrong = find_upward_imports(&imports_of(krate), layers);
        assert!(wrong.is_empty(), "{krate}: imports against the layers:\n{}", wrong.join("\n"));
    }
}

#[test]
fn every_file_of_the_app_has_a_layer() {
    for file in imports_of("app").keys().filter(|file| *file != "lib.rs") {
        assert!(layer_of(file, APP_LAYERS).is_some(), "{file} is in no layer of APP_LAYERS");
    }
}

fn layer_of(file: &str, layers: &[&[&str]]) -> Option<usize> {
    layers
        .iter()
        .position(|names| names.iter().any(|name| file == *name || name.ends_with('/') && file.starts_with(name)))
}

fn find_upward_imports(imports: &Imports, layers: &[&[&str]]) -> Vec<String> {
    let mut wrong = Vec::new();
    for (file, imported) in imports {
        // A file in no layer is below all layers.
        let layer = layer_of(file, layers).unwrap_or(layers.len());
        for (other, path) in imported.iter().filter(|(other, _)| *other != "lib.rs") {
            let is_upward = layer_of(other, layers).unwrap_or(layers.len()) < layer;
            let are_strangers = STRANGERS.iter().any(|(one, two)| file.starts_with(one) && other.starts_with(two));
            if (is_upward || are_strangers) && file != "lib.rs" {
                wrong.push(format!("{file} imports {other} ({path})"));
            }
        }
    }
    wrong
}

/// Every group of files that import each other, directly or through others.
fn find_cycles(imports: &Imports) -> Vec<String> {
    let reachable = |from: &str| {
        let mut seen = BTreeSet::new();
        let mut next: Vec<&str> = imports.get(from).into_iter().flat_map(|to| to.keys().map(String::as_str)).collect();
        while let Some(file) = next.pop() {
            if seen.insert(file) {
                next.extend(imports.get(file).into_iter().flat_map(|to| to.keys().map(String::as_str)));
            }
        }
        seen
    };
    let all: BTreeMap<&str, BTreeSet<&str>> = imports.keys().map(|file| (file.as_str(), reachable(file))).collect();
    let mut cycles = BTreeSet::new();
    for (file, reached) in &all {
        let group: Vec<&str> =
            reached.iter().copied().filter(|other| all.get(other).is_some_and(|back| back.contains(file))).collect();
        if !group.is_empty() {
            let edges = group.iter().flat_map(|file| {
                let to = imports[*file].iter().filter(|(other, _)| group.contains(&other.as_str()));
                to.map(move |(other, path)| format!("  {file} imports {other} ({path})"))
            });
            cycles.insert(edges.collect::<Vec<_>>().join("\n"));
        }
    }
    cycles.into_iter().collect()
}

fn imports_of(krate: &str) -> Imports {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(krate).join("src");
    let mut files = BTreeMap::new();
    read_sources(&source, &source, &mut files);
    assert!(files.len() > 5, "{krate}");
    resolve(&files)
}

fn read_sources(root: &Path, folder: &Path, files: &mut BTreeMap<String, String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path: PathBuf = entry.unwrap().path();
        if path.is_dir() {
            read_sources(root, &path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let name = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
            files.insert(name, fs::read_to_string(&path).unwrap());
        }
    }
}

fn resolve(files: &BTreeMap<String, String>) -> Imports {
    let mut imports = Imports::new();
    for (file, text) in files {
        let imported = imports.entry(file.clone()).or_default();
        for path in paths_in(text) {
            if let Some(other) = resolve_path(file, &path, files).filter(|other| other != file) {
                imported.entry(other).or_insert_with(|| path.join("::"));
            }
        }
    }
    imports
}

/// The module path of a file: `http/server.rs` is `["http", "server"]`.
fn module_of(file: &str) -> Vec<String> {
    let path = file.trim_end_matches(".rs");
    if matches!(path, "lib" | "main") { Vec::new() } else { path.split('/').map(str::to_owned).collect() }
}

/// The deepest module file that a path names.
fn resolve_path(file: &str, path: &[String], files: &BTreeMap<String, String>) -> Option<String> {
    let mut module = module_of(file);
    let mut names = path.iter().map(String::as_str).peekable();
    match names.next()? {
        "crate" => module.clear(),
        "super" => {
            module.pop();
        }
        _ => {}
    }
    while names.next_if_eq(&"super").is_some() {
        module.pop();
    }
    for name in names {
        let deeper = [module.as_slice(), &[name.to_owned()]].concat();
        if !files.contains_key(&format!("{}.rs", deeper.join("/"))) {
            break;
        }
        module = deeper;
    }
    Some(if module.is_empty() { "lib.rs".to_owned() } else { format!("{}.rs", module.join("/")) })
}

/// Every path of a file that begins with `crate`, `super` or `self`, with braces expanded.
fn paths_in(text: &str) -> BTreeSet<Vec<String>> {
    let text = code_of(text);
    let tokens = tokens_of(&text);
    let mut paths = BTreeSet::new();
    let mut position = 0;
    while position < tokens.len() {
        let begins = matches!(tokens[position], "crate" | "super" | "self") && tokens.get(position + 1) == Some(&"::");
        // The path of `pub(in crate::http)` imports nothing.
        if begins && (position == 0 || !matches!(tokens[position - 1], "::" | "in")) {
            position = expand(&tokens, position, &[], &mut paths);
        } else {
            position += 1;
        }
    }
    paths
}

/// Reads one path from `position`. Returns the position after it.
fn expand<'t>(tokens: &[&'t str], position: usize, prefix: &[&'t str], paths: &mut BTreeSet<Vec<String>>) -> usize {
    let mut path = prefix.to_vec();
    let mut position = position;
    loop {
        match tokens.get(position) {
            Some(&"{") => {
                position += 1;
                while let Some(token) = tokens.get(position).filter(|token| **token != "}") {
                    position = if *token == "," { position + 1 } else { expand(tokens, position, &path, paths) };
                }
                return position + 1;
            }
            Some(name) if name.chars().all(|c| c.is_alphanumeric() || c == '_') => {
                if *name != "self" || path.is_empty() {
                    path.push(name);
                }
                position += 1;
            }
            _ => position += 1,
        }
        if tokens.get(position) == Some(&"::") {
            position += 1;
            continue;
        }
        // `as` renames the imported name.
        if tokens.get(position) == Some(&"as") {
            position += 2;
        }
        paths.insert(path.iter().map(|name| (*name).to_owned()).collect());
        return position;
    }
}

/// The text without comments, strings and the test module at its end.
fn code_of(text: &str) -> String {
    let text = text.split("\n#[cfg(test)]\nmod tests").next().unwrap_or_default();
    let mut code = String::new();
    for line in text.lines() {
        let line = line.split("//").next().unwrap_or_default();
        // Strings that contain paths do not span several lines.
        let outside = line.split('"').step_by(2);
        code.extend(outside.chain(["\n"]));
    }
    code
}

fn tokens_of(code: &str) -> Vec<&str> {
    let mut tokens = Vec::new();
    let mut rest = code;
    while let Some(first) = rest.chars().next() {
        let is_word = |c: char| c.is_alphanumeric() || c == '_';
        let length = if is_word(first) {
            rest.find(|c| !is_word(c)).unwrap_or(rest.len())
        } else if rest.starts_with("::") {
            2
        } else {
            first.len_utf8()
        };
        let (token, tail) = rest.split_at(length);
        if !token.trim().is_empty() {
            tokens.push(token);
        }
        rest = tail;
    }
    tokens
}

fn resolve_sources(files: &[(&str, &str)]) -> Imports {
    resolve(&files.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect())
}

#[test]
fn find_cycles_reports_a_cycle() {
    let imports = resolve_sources(&[
        ("lib.rs", "pub mod a;\npub mod b;"),
        ("a.rs", "use crate::b::c::{self, deep::{Thing as Other, More}};"),
        ("b.rs", "mod c;"),
        ("b/c.rs", "use super::super::a::Name; // crate::lib"),
        ("d.rs", "use crate::a; const TEXT: &str = \"crate::e\";"),
        ("e.rs", "use crate::d::X;\n#[cfg(test)]\nmod tests { use crate::b; }"),
    ]);
    let cycles = find_cycles(&imports);
    assert_eq!(cycles.len(), 1, "{cycles:?}");
    assert!(cycles[0].contains("a.rs imports b/c.rs") && cycles[0].contains("b/c.rs imports a.rs"), "{cycles:?}");
}

#[test]
fn find_upward_imports_reports_imports_against_the_layers() {
    let imports = resolve_sources(&[
        ("config.rs", "use crate::http::server::Listening;"),
        ("http/server.rs", "use crate::config::Config;"),
        ("http/handlers/tags.rs", "use crate::http::middleware::cors;"),
        ("http/middleware/cors.rs", ""),
        ("http/middleware.rs", ""),
        ("http.rs", ""),
    ]);
    assert_eq!(
        find_upward_imports(&imports, APP_LAYERS),
        [
            "config.rs imports http/server.rs (crate::http::server::Listening)",
            "http/handlers/tags.rs imports http/middleware/cors.rs (crate::http::middleware::cors)"
        ]
    );
}
