//! The files and items that documents name are there.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use crate::markdown::{Document, root};

/// Documents whose code spans are ours: names of files and items, nothing of others.
const OURS: [&str; 5] =
    ["docs/ADAPTERS.md", "docs/ARCHITECTURE.md", "docs/DELIVERY.md", "docs/EMBEDDING.md", "SECURITY.md"];

/// Where a path may begin, beside the root.
const STARTS: [&str; 5] = [
    "crates/aiomsg-proto/src",
    "crates/aiomsg-driver/src",
    "crates/aiomsg-driver",
    "crates/aiomsg-tokio/src",
    "tests",
];

/// Names of the language, its library and its tools.
const FOREIGN: [&str; 14] = [
    "wc",
    "SO_REUSEADDR",
    "TCP_NODELAY",
    "SMOL_THREADS",
    "async",
    "Interrupted",
    "ConnectionAborted",
    "Bytes",
    "Arc",
    "thumbv6m",
    "select",
    "shutdown",
    "no_std",
    "None",
];

fn files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        let name = path.file_name().unwrap_or_default();
        if path.is_dir() && name != "target" && name != "documents" {
            files(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs" || extension == "toml") {
            found.push(path);
        }
    }
}

/// All words in the sources and manifests.
fn words() -> BTreeSet<String> {
    let mut paths = Vec::new();
    files(&root().join("crates"), &mut paths);
    files(&root().join("tests"), &mut paths);
    let mut words = BTreeSet::new();
    for path in paths {
        let text = fs::read_to_string(path).expect("a text");
        let parts = text.split(|letter: char| !letter.is_alphanumeric() && letter != '_');
        words.extend(parts.filter(|part| !part.is_empty()).map(str::to_owned));
    }
    words
}

fn is_path(span: &str) -> bool {
    let plain = span.chars().all(|letter| letter.is_alphanumeric() || "/_-.".contains(letter));
    plain && (span.contains('/') || [".rs", ".md", ".toml"].iter().any(|ending| span.ends_with(ending)))
}

/// Whether a file or a folder is there. A name alone is one of a file in any of the places.
fn exists(span: &str) -> bool {
    [""].iter().chain(&STARTS).any(|start| root().join(start).join(span).exists())
}

fn is_item(span: &str) -> bool {
    span.chars().all(|letter| letter.is_ascii_alphanumeric() || letter == '_' || letter == ':')
        && span.starts_with(|letter: char| letter.is_ascii_alphabetic())
}

#[test]
fn files_and_items_that_documents_name_exist() {
    let words = words();
    let (mut names, mut missing) = (0, Vec::new());
    for document in OURS.map(Document::read) {
        for span in document.code_spans() {
            let found = if is_path(&span) {
                exists(&span)
            } else if is_item(&span) {
                span.split("::").all(|word| FOREIGN.contains(&word) || words.contains(word))
            } else {
                continue;
            };
            names += 1;
            if !found {
                missing.push(format!("{}: {span}", document.name()));
            }
        }
    }
    assert_eq!(missing, Vec::<String>::new());
    assert!(names > 300, "names are found: {names}");
}

#[test]
fn every_counter_of_lost_messages_is_told() {
    let source = fs::read_to_string(root().join("crates/aiomsg-proto/src/metrics.rs")).expect("a text");
    let field =
        |line: &str| line.trim().strip_prefix("pub ")?.split_once(':').map(|(name, _)| name.to_owned());
    let counters: Vec<String> =
        source.lines().filter_map(field).filter(|name| name.starts_with("dropped_")).collect();
    assert!(counters.len() >= 5, "counters are found: {counters:?}");
    for path in ["docs/ARCHITECTURE.md", "docs/DELIVERY.md"] {
        let told = Document::read(path).code_spans();
        for counter in &counters {
            assert!(told.contains(counter), "{path} does not tell of {counter}");
        }
    }
}
