//! The defaults that documents tell. Those of the settings' own documentation are held to the code by the crate itself.

use std::collections::BTreeMap;
use std::fs;

use crate::markdown::{Document, root};

macro_rules! documentation {
    ($($(#[doc = $doc:expr])* $name:ident: $type:ty = $default:expr;)*) => {
        [$((stringify!($name), [$($doc),*].concat())),*]
    };
}

/// The default of each setting, as its documentation has it.
fn defaults() -> BTreeMap<&'static str, String> {
    let settings = aiomsg_proto::with_settings!(documentation);
    let default = |(name, text): &(&'static str, String)| {
        let (_, rest) = text.split_once("Default: ").expect("a default");
        let sentence = rest.split_once('.').map_or(rest, |(sentence, _)| sentence);
        let value = sentence.rsplit_once("which is ").map_or(sentence, |(_, value)| value);
        // A policy, and what it means.
        let value = value.split_once("`]").map_or(value, |(policy, _)| policy.trim_start_matches("[`"));
        (*name, value.trim().to_owned())
    };
    settings.iter().map(default).collect()
}

#[test]
fn bounds_of_what_peers_can_do_are_the_defaults() {
    let defaults = defaults();
    let rows = Document::read("SECURITY.md").rows();
    let mut named = 0;
    for row in &rows {
        let [_, bound, setting] = row.as_slice() else { panic!("{row:?} has three columns") };
        if !setting.is_empty() {
            named += 1;
            let default = defaults.get(&**setting).unwrap_or_else(|| panic!("{setting} is no setting"));
            assert!(bound.starts_with(default), "{setting}: {bound:?} is not {default:?}");
        }
    }
    assert!(named >= 9, "settings are found: {named}");
}

#[test]
fn defaults_beside_those_of_others_are_right() {
    let defaults = defaults();
    let mut named = 0;
    for row in Document::read("docs/FROM_ZEROMQ.md").rows() {
        let [_, here, _, told] = row.as_slice() else { continue };
        let words = here.split(|letter: char| !letter.is_alphanumeric() && letter != '_');
        for setting in words.filter(|word| !told.is_empty() && defaults.contains_key(word)) {
            named += 1;
            assert!(told.contains(&defaults[setting]), "{setting}: {told:?} is not {:?}", defaults[setting]);
        }
    }
    assert!(named >= 12, "settings are found: {named}");
}

#[test]
fn a_default_in_brackets_behind_its_setting_is_right() {
    let mut told = 0;
    for document in Document::all() {
        let text = fs::read_to_string(root().join(&document.path)).expect("a text");
        for (setting, default) in &defaults() {
            for place in text.split(&format!("`{setting}` (")).skip(1) {
                let value = place.split_once(')').map_or(place, |(value, _)| value);
                if value.starts_with(|letter: char| letter.is_ascii_digit()) {
                    told += 1;
                    assert_eq!(value, default, "{}: {setting}", document.name());
                }
            }
        }
    }
    assert!(told >= 1, "defaults are found: {told}");
}

#[test]
fn what_the_core_depends_on_is_told_to_who_embeds_it() {
    let manifest = fs::read_to_string(root().join("crates/aiomsg-proto/Cargo.toml")).expect("a manifest");
    let (_, rest) = manifest.split_once("[dependencies]").expect("dependencies");
    let names = rest
        .lines()
        .take_while(|line| !line.starts_with('['))
        .filter_map(|line| line.split_once(['.', ' ', '=']));
    let names: Vec<&str> = names.map(|(name, _)| name).collect();
    let told = Document::read("docs/EMBEDDING.md").code_spans();
    let missing: Vec<&&str> = names.iter().filter(|name| !told.iter().any(|span| span == **name)).collect();
    assert!(missing.is_empty(), "{missing:?}");
    assert!(names.len() > 5, "dependencies are found: {names:?}");
}
