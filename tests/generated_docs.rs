//! Documentation that is generated is checked in, and equals what the binary says now.
//!
//! After a change on purpose: `SNAPFERRY_BLESS=1 cargo test --test generated_docs`.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::disallowed_methods, missing_docs, reason = "test code")]

use std::{path::Path, process::Command};

const HEAD: &str = "# Commands

What `snapferry COMMAND --help` prints, for every command. Generated: don't edit. After a change of a flag or a text, run
`SNAPFERRY_BLESS=1 cargo test --test generated_docs`.
";

/// `--help` of a command, at a width that no terminal changes.
fn help(path: &[String]) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_snapferry"));
    let output = command.env_clear().args(path).arg("--help").output().unwrap();
    assert!(output.status.success(), "{path:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// The commands below, as the help lists them; clap's own `help` needs no page.
fn below(help: &str) -> Vec<String> {
    let listed = help.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
    // Names stand two spaces in; what goes on from the line above stands further in.
    let names = listed.filter(|line| line.starts_with("  ") && !line.starts_with("   "));
    names.filter_map(|line| line.split_whitespace().next()).filter(|name| *name != "help").map(str::to_owned).collect()
}

fn pages(path: &[String], out: &mut String) {
    let text = help(path);
    let name = ["snapferry"].into_iter().chain(path.iter().map(String::as_str)).collect::<Vec<_>>().join(" ");
    let text: Vec<&str> = text.lines().map(str::trim_end).collect();
    out.push_str(&format!("\n## {name}\n\n```text\n{}\n```\n", text.join("\n").trim_end()));
    for command in below(&text.join("\n")) {
        pages(&[path, &[command]].concat(), out);
    }
}

#[test]
fn the_command_reference_is_what_help_prints() {
    let mut expected = HEAD.to_owned();
    pages(&[], &mut expected);
    for command in ["## snapferry serve\n", "## snapferry catalog show\n", "## snapferry config check\n"] {
        assert!(expected.contains(command), "{command} was not found in the help");
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/commands.md");
    if std::env::var_os("SNAPFERRY_BLESS").is_some() {
        std::fs::write(&path, &expected).unwrap();
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    let line = expected.lines().zip(found.lines()).position(|(expected, found)| expected != found);
    assert!(
        found == expected,
        "docs/commands.md is not what --help prints (first at line {}): run `SNAPFERRY_BLESS=1 cargo test --test generated_docs`",
        line.map_or_else(|| expected.lines().count().min(found.lines().count()) + 1, |line| line + 1)
    );
}
