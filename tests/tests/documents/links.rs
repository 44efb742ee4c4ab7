//! Links lead somewhere, documents can be reached, and their snippets are compiled.

use std::fs;
use std::path::{Component, Path, PathBuf};

use crate::markdown::{Document, root};

/// Where a link of a document leads, seen from the root, without `..` in it. `None` if that is outside of the repository.
fn resolve(document: &Document, target: &str) -> Option<PathBuf> {
    let mut path = document.path.parent().unwrap_or_else(|| Path::new("")).to_path_buf();
    for part in Path::new(target).components() {
        match part {
            Component::ParentDir => path.pop().then_some(())?,
            Component::CurDir => {}
            Component::Normal(name) => path.push(name),
            Component::RootDir | Component::Prefix(_) => return None,
        }
    }
    Some(path)
}

/// A link into this repository: the file, and the heading in it if one is meant. The file itself if none is named.
fn inside(document: &Document, link: &str) -> Option<(Option<PathBuf>, Option<String>)> {
    if link.contains("://") || link.starts_with("mailto:") {
        return None;
    }
    let (file, heading) = link.split_once('#').map_or((link, None), |(file, heading)| (file, Some(heading)));
    let path = if file.is_empty() { Some(document.path.clone()) } else { resolve(document, file) };
    Some((path, heading.map(str::to_owned)))
}

#[test]
fn links_inside_the_repository_lead_to_files_and_headings() {
    let (mut links, mut broken) = (0, Vec::new());
    for document in Document::all() {
        for link in document.links() {
            let Some((path, heading)) = inside(&document, &link) else { continue };
            links += 1;
            let found = path.is_some_and(|path| {
                root().join(&path).exists()
                    && heading.is_none_or(|heading| Document::read(&path).anchors().contains(&heading))
            });
            if !found {
                broken.push(format!("{}: {link}", document.name()));
            }
        }
    }
    assert_eq!(broken, Vec::<String>::new());
    assert!(links > 40, "links are found: {links}");
}

#[test]
fn the_front_page_leads_to_every_document() {
    let front = Document::read("README.md");
    let linked: Vec<PathBuf> = front.links().iter().filter_map(|link| inside(&front, link)?.0).collect();
    let missing: Vec<String> = Document::all()
        .iter()
        .filter(|document| document.path != front.path && !linked.contains(&document.path))
        .map(|document| document.name().to_string())
        .collect();
    assert_eq!(missing, Vec::<String>::new());
}

#[test]
fn every_document_with_snippets_has_them_compiled() {
    let compiled = fs::read_to_string(root().join("tests/src/lib.rs")).expect("a file");
    let missing: Vec<String> = Document::all()
        .iter()
        .filter(|document| {
            document.fences().iter().any(|fence| fence.info.split(',').any(|word| word == "rust"))
        })
        .map(|document| document.name().to_string())
        .filter(|path| !compiled.contains(&format!("include_str!(\"../../{path}\")")))
        .collect();
    assert_eq!(missing, Vec::<String>::new());
}

/// Rustdoc hides such lines, and forges show them.
#[test]
fn snippets_have_no_hidden_lines() {
    let hidden = |line: &&str| *line == "#" || line.starts_with("# ");
    for document in Document::all() {
        for fence in document.fences().iter().filter(|fence| fence.info.starts_with("rust")) {
            assert_eq!(fence.text.lines().find(hidden), None, "{}", document.name());
        }
    }
}
