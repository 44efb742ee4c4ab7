//! The documents of this repository, taken apart.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use pulldown_cmark::{CodeBlockKind, Event, Options, Parser, Tag, TagEnd};

/// Where documents lie, seen from the root.
const FOLDERS: [&str; 2] = ["", "docs"];

/// The root of the repository.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the tests lie in a folder of the root")
        .to_path_buf()
}

/// A document.
pub(crate) struct Document {
    /// Seen from the root.
    pub(crate) path: PathBuf,
    text: String,
}

/// A block of code.
pub(crate) struct Fence {
    /// What stands behind the backticks.
    pub(crate) info: String,
    pub(crate) text: String,
}

impl Document {
    /// The document at `path`, seen from the root.
    pub(crate) fn read(path: impl AsRef<Path>) -> Self {
        let path = path.as_ref();
        let text = fs::read_to_string(root().join(path));
        let text = text.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        Self { path: path.to_path_buf(), text }
    }

    /// All that there are.
    pub(crate) fn all() -> Vec<Self> {
        let mut documents = Vec::new();
        for folder in FOLDERS {
            for entry in fs::read_dir(root().join(folder)).expect("a folder") {
                let name = entry.expect("an entry").file_name();
                let path = Path::new(folder).join(name);
                if path.extension().is_some_and(|extension| extension == "md") {
                    documents.push(Self::read(path));
                }
            }
        }
        assert!(documents.len() > 8, "documents are found");
        documents.sort_by(|one, other| one.path.cmp(&other.path));
        documents
    }

    /// As it is called in a failure.
    pub(crate) fn name(&self) -> std::path::Display<'_> {
        self.path.display()
    }

    fn events(&self) -> Parser<'_> {
        Parser::new_ext(&self.text, Options::ENABLE_TABLES)
    }

    /// Where its links lead.
    pub(crate) fn links(&self) -> Vec<String> {
        let target = |event| match event {
            Event::Start(Tag::Link { dest_url, .. } | Tag::Image { dest_url, .. }) => {
                Some(dest_url.to_string())
            }
            _ => None,
        };
        self.events().filter_map(target).collect()
    }

    /// The names of its headings, as forges make them: small letters, digits, `-` for a space.
    pub(crate) fn anchors(&self) -> Vec<String> {
        let mut anchors = Vec::new();
        let mut seen: BTreeMap<String, usize> = BTreeMap::new();
        let mut heading: Option<String> = None;
        for event in self.events() {
            match event {
                Event::Start(Tag::Heading { .. }) => heading = Some(String::new()),
                Event::Text(text) | Event::Code(text) => {
                    if let Some(heading) = &mut heading {
                        heading.push_str(&text);
                    }
                }
                Event::End(TagEnd::Heading(_)) => {
                    let anchor = slug(&heading.take().unwrap_or_default());
                    let before = seen.entry(anchor.clone()).or_default();
                    anchors.push(if *before == 0 { anchor } else { format!("{anchor}-{before}") });
                    *before += 1;
                }
                _ => {}
            }
        }
        anchors
    }

    /// What is written as code inside of sentences.
    pub(crate) fn code_spans(&self) -> Vec<String> {
        let code = |event| match event {
            Event::Code(code) => Some(code.to_string()),
            _ => None,
        };
        self.events().filter_map(code).collect()
    }

    /// The rows of its tables, as text.
    pub(crate) fn rows(&self) -> Vec<Vec<String>> {
        let mut rows: Vec<Vec<String>> = Vec::new();
        let mut in_cell = false;
        for event in self.events() {
            match event {
                Event::Start(Tag::TableRow) => rows.push(Vec::new()),
                Event::Start(Tag::TableCell) => {
                    in_cell = true;
                    if let Some(row) = rows.last_mut() {
                        row.push(String::new());
                    }
                }
                Event::Text(text) | Event::Code(text) if in_cell => {
                    if let Some(cell) = rows.last_mut().and_then(|row| row.last_mut()) {
                        cell.push_str(&text);
                    }
                }
                Event::End(TagEnd::TableCell) => in_cell = false,
                _ => {}
            }
        }
        rows
    }

    /// Its blocks of code.
    pub(crate) fn fences(&self) -> Vec<Fence> {
        let mut fences = Vec::new();
        let mut open = false;
        for event in self.events() {
            match event {
                Event::Start(Tag::CodeBlock(CodeBlockKind::Fenced(info))) => {
                    open = true;
                    fences.push(Fence { info: info.to_string(), text: String::new() });
                }
                Event::Text(text) if open => {
                    if let Some(fence) = fences.last_mut() {
                        fence.text.push_str(&text);
                    }
                }
                Event::End(TagEnd::CodeBlock) => open = false,
                _ => {}
            }
        }
        fences
    }
}

fn slug(heading: &str) -> String {
    let kept = |letter: &char| letter.is_alphanumeric() || matches!(letter, ' ' | '-' | '_');
    heading
        .to_lowercase()
        .chars()
        .filter(kept)
        .map(|letter| if letter == ' ' { '-' } else { letter })
        .collect()
}

#[test]
fn headings_links_and_code_are_found() {
    let text = "# What's `a_b`, *then*?\n\nSee [there](x.md#y), `one`.\n\n| a | b |\n|---|---|\n| one `two` | 3 |\n\n## Twice\n\n## Twice\n\n```rust,no_run\nfn main() {}\n```\n";
    let document = Document { path: "x.md".into(), text: text.into() };
    assert_eq!(document.anchors(), ["whats-a_b-then", "twice", "twice-1"]);
    assert_eq!(document.links(), ["x.md#y"]);
    assert_eq!(document.code_spans(), ["a_b", "one", "two"]);
    assert_eq!(document.rows(), [["one two", "3"]]);
    let fences = document.fences();
    assert_eq!((fences[0].info.as_str(), fences[0].text.as_str()), ("rust,no_run", "fn main() {}\n"));
}
