//! What every front page and every asynchronous method says.

use std::fs;
use std::path::PathBuf;

use crate::markdown::root;

/// The sources of the crates that are published.
fn sources() -> Vec<(PathBuf, String)> {
    let mut sources = Vec::new();
    for name in ["proto", "driver", "tokio", "smol"] {
        let folder = root().join(format!("crates/aiomsg-{name}/src"));
        for entry in fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).expect("a text");
                sources.push((path, text));
            }
        }
    }
    sources
}

#[test]
fn asynchronous_methods_tell_their_errors_and_what_being_dropped_means() {
    let (mut methods, mut missing) = (0, Vec::new());
    for (path, text) in sources() {
        let mut documentation = String::new();
        for (line, rest) in text.lines().map(str::trim).zip(1..) {
            if let Some(words) = line.strip_prefix("///") {
                documentation += words;
                continue;
            }
            if line.starts_with("#[") {
                continue;
            }
            let signature: String = text.lines().skip(rest - 1).take(5).collect();
            let signature = signature.split('{').next().unwrap_or_default();
            let is_public = line.starts_with("pub async fn ") || line.starts_with("pub fn ");
            if is_public && (signature.contains("async fn") || signature.contains("-> impl Future")) {
                methods += 1;
                let fails = signature.contains("Result<");
                if !documentation.contains("# Cancel safety") || fails != documentation.contains("# Errors") {
                    missing.push(format!("{}: {line}", path.display()));
                }
            }
            documentation.clear();
        }
    }
    assert_eq!(missing, Vec::<String>::new());
    assert!(methods >= 14, "methods are found: {methods}");
}

#[test]
fn the_rust_that_is_promised_is_that_of_the_manifest() {
    let manifest = fs::read_to_string(root().join("Cargo.toml")).expect("a manifest");
    let version = manifest.lines().find_map(|line| line.strip_prefix("rust-version = "));
    let promise = format!("Rust {}", version.expect("a version").trim_matches('"'));
    let pages =
        ["README.md", "CONTRIBUTING.md", "crates/aiomsg-proto/src/lib.rs", "crates/aiomsg-driver/src/lib.rs"];
    for page in pages.into_iter().chain(["crates/aiomsg-driver/src/guide.rs"]) {
        let text = fs::read_to_string(root().join(page)).expect("a text");
        assert!(text.contains(&promise), "{page} says {promise}");
    }
}

#[test]
fn documents_that_front_pages_name_exist() {
    let mut named = 0;
    for (path, text) in sources() {
        let names = text.split(|letter: char| letter.is_whitespace() || letter == '`');
        for name in names.filter(|word| word.starts_with("docs/") && word.ends_with(".md")) {
            named += 1;
            assert!(root().join(name).is_file(), "{} names {name}", path.display());
        }
    }
    assert!(named >= 8, "documents are named: {named}");
}
