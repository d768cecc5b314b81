//! YAML as a tree in which everything knows its line.
//!
//! The tree is built from the events of `saphyr-parser` instead of through `serde_yaml`: serde stops at the
//! first fault and does not know where a value stood, and the operator is to see all faults at once, each
//! with its line. Only the plain part of YAML is taken: anchors, aliases, tags and further documents make a file
//! mean something else than it seems to say, and no setting needs them.
//!
//! A scalar is its text; whoever reads it decides what it must be. `no` is therefore a name like any other.

use saphyr_parser::{Event, Parser, ScalarStyle};

use super::findings::Report;

/// The deepest nesting.
const DEPTH_MAX: usize = 32;

/// A value and the line on which it begins.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) line: usize,
    pub(super) value: Value,
}

#[derive(Debug)]
pub(super) enum Value {
    /// Nothing was written, or `~` or `null`.
    Null,
    Scalar(String),
    Sequence(Vec<Node>),
    Mapping(Vec<Member>),
    /// Something was written that is refused, which is reported already.
    Refused,
}

/// A name and its value. The same name may occur twice: the reader reports that, knowing the path.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) name: String,
    pub(super) line: usize,
    pub(super) node: Node,
}

/// Reads a file's one document. `None` if that is impossible, which is then reported.
pub(super) fn parse(text: &str, report: &Report) -> Option<Node> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    // The parser takes NUL for the end of the text and would leave out the rest without a word.
    if let Some(at) = text.find('\0') {
        report.fault(&report.place(line_of(text, at), ""), "a NUL character; this is no text file");
        return None;
    }
    let mut parser = Parser::new_from_str(text);
    let mut tree = Tree { report, open: Vec::new(), root: None };
    let mut documents = 0;
    while let Some(event) = parser.next_event() {
        let (event, span) = match event {
            Ok(event) => event,
            Err(error) => {
                let (line, text) = syntax_fault(text, error.marker().line(), error.info());
                report.fault(&report.place(line, ""), text);
                return None;
            }
        };
        let line = span.start.line();
        if matches!(event, Event::DocumentStart(_)) {
            documents += 1;
        }
        if documents > 1 {
            report.fault(&report.place(line, ""), "a second document begins here; keep everything in one, without ---");
            return None;
        }
        tree.take(event, line)?;
    }
    // A file of comments only has no document.
    Some(tree.root.unwrap_or(Node { line: 1, value: Value::Null }))
}

struct Tree<'a> {
    report: &'a Report,
    /// The collections around the present event, the innermost last.
    open: Vec<Collection>,
    root: Option<Node>,
}

enum Collection {
    Sequence { line: usize, items: Vec<Node> },
    Mapping { line: usize, members: Vec<Member>, next: Next },
}

/// What a mapping expects: a name, or the value for one (`None` if the name was refused).
enum Next {
    Name,
    Value(Option<(String, usize)>),
}

impl Tree<'_> {
    /// Takes one event; `None` to stop reading.
    fn take(&mut self, event: Event<'_>, line: usize) -> Option<()> {
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                let refused = self.refuse(anchor != 0, tag.is_some(), line);
                let null = style == ScalarStyle::Plain && matches!(&*text, "" | "~" | "null");
                let value = match () {
                    () if refused => Value::Refused,
                    () if null => Value::Null,
                    () => Value::Scalar(text.into_owned()),
                };
                self.place(Node { line, value });
            }
            Event::Alias(_) => {
                self.fault(line, "an alias (*); repeat the value instead");
                self.place(Node { line, value: Value::Refused });
            }
            Event::SequenceStart(anchor, tag) => {
                self.refuse(anchor != 0, tag.is_some(), line);
                self.open(Collection::Sequence { line, items: Vec::new() }, line)?;
            }
            Event::MappingStart(anchor, tag) => {
                self.refuse(anchor != 0, tag.is_some(), line);
                self.open(Collection::Mapping { line, members: Vec::new(), next: Next::Name }, line)?;
            }
            Event::SequenceEnd | Event::MappingEnd => self.close(),
            _ => {}
        }
        Some(())
    }

    fn refuse(&self, anchor: bool, tag: bool, line: usize) -> bool {
        if anchor {
            self.fault(line, "an anchor (&); write the value out wherever it is needed");
        }
        if tag {
            self.fault(line, "a tag (!); leave it out, every setting has its own type");
        }
        anchor || tag
    }

    fn open(&mut self, collection: Collection, line: usize) -> Option<()> {
        if self.open.len() == DEPTH_MAX {
            self.fault(line, &format!("nested deeper than {DEPTH_MAX} levels"));
            return None;
        }
        self.open.push(collection);
        Some(())
    }

    fn close(&mut self) {
        let node = match self.open.pop() {
            Some(Collection::Sequence { line, items }) => Node { line, value: Value::Sequence(items) },
            Some(Collection::Mapping { line, members, .. }) => Node { line, value: Value::Mapping(members) },
            None => return,
        };
        self.place(node);
    }

    /// Puts a finished node where it belongs.
    fn place(&mut self, node: Node) {
        let report = self.report;
        match self.open.last_mut() {
            None => self.root = Some(node),
            Some(Collection::Sequence { items, .. }) => items.push(node),
            Some(Collection::Mapping { members, next, .. }) => match std::mem::replace(next, Next::Name) {
                Next::Name => *next = Next::Value(name_of(node, report)),
                Next::Value(Some((name, line))) => members.push(Member { name, line, node }),
                Next::Value(None) => {}
            },
        }
    }

    fn fault(&self, line: usize, text: &str) {
        self.report.fault(&self.report.place(line, ""), text);
    }
}

fn name_of(node: Node, report: &Report) -> Option<(String, usize)> {
    match node.value {
        Value::Scalar(text) => return Some((text, node.line)),
        Value::Refused => {}
        _ => report.fault(&report.place(node.line, ""), "the name of a setting must be a word"),
    }
    None
}

/// The line of a syntax error and the parser's message, or what to do where the cause is known.
fn syntax_fault(text: &str, line: usize, message: &str) -> (usize, String) {
    let indented_by_tab = |line: &str| line.trim_start_matches(' ').starts_with('\t');
    // The parser stumbles over a tab a line before or after it.
    let near = text.lines().enumerate().skip(line.saturating_sub(2)).take(3);
    match near.into_iter().find(|(_, line)| indented_by_tab(line)) {
        Some((at, _)) => (at + 1, "a line is indented with a tab; YAML takes spaces only".into()),
        None => (line, format!("not YAML: {message}")),
    }
}

fn line_of(text: &str, at: usize) -> usize {
    text.bytes().take(at).filter(|&byte| byte == b'\n').count() + 1
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn faults(text: &str) -> Vec<String> {
        let report = Report::new("f");
        parse(text, &report);
        report.close().map_or_else(|faults| faults.iter().map(ToString::to_string).collect(), |_| Vec::new())
    }

    #[test]
    fn every_name_and_value_knows_its_line() {
        let report = Report::new("f");
        let root = parse("# comment\na: 1\nb:\n  - x\n  - {c: 'null', d: }\n", &report).unwrap();
        let Value::Mapping(members) = root.value else { panic!("no mapping") };
        let lines: Vec<_> = members.iter().map(|member| (member.name.as_str(), member.line)).collect();
        assert_eq!(lines, [("a", 2), ("b", 3)]);
        let Value::Sequence(items) = &members[1].node.value else { panic!("no sequence") };
        let Value::Mapping(inner) = &items[1].value else { panic!("no mapping") };
        assert_eq!((items[0].line, items[1].line), (4, 5));
        assert!(matches!(&inner[0].node.value, Value::Scalar(text) if text == "null"));
        assert!(matches!(inner[1].node.value, Value::Null));
    }

    #[test]
    fn what_makes_a_file_mean_something_else_is_refused() {
        assert_eq!(
            faults("a: &x 1\nb: *x\nc: !!int 3\n"),
            [
                "f:1: an anchor (&); write the value out wherever it is needed",
                "f:2: an alias (*); repeat the value instead",
                "f:3: a tag (!); leave it out, every setting has its own type",
            ]
        );
        assert_eq!(
            faults("a: 1\n---\nb: 2\n"),
            ["f:2: a second document begins here; keep everything in one, without ---"]
        );
        assert_eq!(faults("? [a, b]\n: 1\n"), ["f:1: the name of a setting must be a word"]);
        assert_eq!(faults("a: 1\nb: \0x\n"), ["f:2: a NUL character; this is no text file"]);
        assert_eq!(faults(&"[".repeat(40)), ["f:1: nested deeper than 32 levels"]);
        assert_eq!(faults(&(0..40).map(|n| format!("{}a:\n", " ".repeat(n))).collect::<String>()).len(), 1);
    }

    #[test]
    fn a_syntax_error_names_its_line() {
        let found = faults("a: 1\nb: {c: 1\nd: 2\n");
        assert_eq!(found.len(), 1);
        assert!(found[0].starts_with("f:3: not YAML: ") || found[0].starts_with("f:2: not YAML: "), "{found:?}");
    }

    #[test]
    fn a_tab_is_named_as_such() {
        for (text, line) in [("a:\n\tb: 1\n", 2), ("a:\n  b: 1\n\tc: 2\n", 3), ("a:\n  b:\n  \tc: 2\n", 3)] {
            let expected = format!("f:{line}: a line is indented with a tab; YAML takes spaces only");
            assert_eq!(faults(text), [expected], "{text:?}");
        }
    }

    #[test]
    fn a_file_of_comments_is_empty() {
        let report = Report::new("f");
        for text in ["", "# only this\n", "\u{feff}# a byte order mark\n", "---\n"] {
            assert!(matches!(parse(text, &report).map(|node| node.value), Some(Value::Null)), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "[-a-z0-9:{}\\[\\],&*!|>%@`'\"#? \t\r\n\\\\~<é\u{feff}\0]{0,80}") {
            parse(&text, &Report::new("f"));
        }
    }
}
