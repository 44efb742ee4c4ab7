//! What docs/COOKBOOK.md says is what the programs are.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use aiomsg_tests::program::Program;

/// The document, and the folder that its links start from.
fn document() -> (String, PathBuf) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs");
    (fs::read_to_string(folder.join("COOKBOOK.md")).expect("it is there"), folder)
}

/// The blocks of one kind, each with the text between the block before it and itself.
fn blocks<'a>(document: &'a str, kind: &str) -> Vec<(&'a str, &'a str)> {
    let mut parts = document.split("```");
    let mut blocks = Vec::new();
    let mut before = parts.next().expect("there is always one part");
    while let (Some(block), Some(behind)) = (parts.next(), parts.next()) {
        if let Some(block) = block.strip_prefix(kind) {
            blocks.push((before, block));
        }
        before = behind;
    }
    blocks
}

/// The lines that matter, without what they are indented by.
fn lines(text: &str) -> Vec<&str> {
    text.lines().map(str::trim).filter(|line| !line.is_empty()).collect()
}

/// The targets of the links to programs.
fn programs(text: &str) -> impl Iterator<Item = &str> {
    text.split("](")
        .skip(1)
        .filter_map(|link| link.split_once(')'))
        .map(|(target, _)| target)
        .filter(|target| target.ends_with(".rs"))
}

#[test]
fn what_is_quoted_stands_in_the_program_that_is_named() {
    let (document, folder) = document();
    let mut named = Vec::new();
    // Those of `rust` are compiled, with those of the other documents.
    let quotes = blocks(&document, "rs\n");
    assert!(quotes.len() > 20, "they are found: {}", quotes.len());
    for (before, quote) in quotes {
        // Several quotes may follow one name, and of several names the block may be from any.
        let names: Vec<&str> = programs(before).collect();
        if !names.is_empty() {
            named = names;
        }
        let quote = lines(quote);
        let found = named.iter().any(|name| {
            let program =
                fs::read_to_string(folder.join(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
            lines(&program).windows(quote.len()).any(|lines| lines == quote)
        });
        assert!(found, "in none of {named:?}:\n{}", quote.join("\n"));
    }
}

#[test]
fn every_program_is_in_the_document() {
    let (document, folder) = document();
    let named: BTreeSet<PathBuf> =
        programs(&document).map(|name| folder.join(name).canonicalize().expect(name)).collect();
    let recipes =
        folder.join("../crates/aiomsg-examples/examples/cookbook").canonicalize().expect("it is there");
    let mut programs = 0;
    for recipe in fs::read_dir(recipes).expect("it is there") {
        for program in fs::read_dir(recipe.expect("it is there").path()).expect("a folder for each recipe") {
            let program = program.expect("it is there").path();
            assert!(named.contains(&program), "{} is not in the document", program.display());
            programs += 1;
        }
    }
    assert!(programs > 10, "they are found: {programs}");
}

#[test]
fn every_command_is_understood() {
    let (document, _) = document();
    let commands: Vec<&str> =
        blocks(&document, "sh").into_iter().flat_map(|(_, block)| block.lines()).collect();
    let mut understood = 0;
    for command in commands {
        let Some(command) = command.strip_prefix("cargo run --example ") else { continue };
        let (name, args) = command.split_once(" -- ").unwrap_or((command, ""));
        let end = Program::start(name, &[&words(args)[..], &["--help"]].concat()).end();
        assert_eq!(end.code, Some(0), "{command}: {:#?}", end.lines);
        understood += 1;
    }
    assert!(understood > 20, "they are found: {understood}");
}

/// Splits at spaces that do not stand between quotation marks.
fn words(args: &str) -> Vec<&str> {
    let mut words = Vec::new();
    for (place, part) in args.split('"').enumerate() {
        if place % 2 == 0 {
            words.extend(part.split_whitespace());
        } else {
            words.push(part);
        }
    }
    words
}
