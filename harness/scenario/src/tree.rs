//! A TOML document as a tree of spanned nodes, in file order, with recovery from one bad line to the next.

use toml_span::value::ValueInner;
use toml_span::{ErrorKind, Value};

use crate::diagnostic::{Diagnostic, Span};

/// A value and its place.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// The value's bytes in the file.
    pub span: Span,
    /// The value.
    pub value: Raw,
}

/// A TOML value.
#[derive(Clone, Debug, PartialEq)]
pub enum Raw {
    /// A string.
    Str(String),
    /// An integer.
    Int(i64),
    /// A number with a fraction or exponent.
    Float(f64),
    /// `true` or `false`.
    Bool(bool),
    /// A list.
    Array(Vec<Node>),
    /// A table, in file order.
    Table(Vec<Entry>),
}

/// One key of a table.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// The key.
    pub name: String,
    /// The key's place.
    pub key: Span,
    /// The value.
    pub node: Node,
}

impl Node {
    /// What kind of value it is, with an article.
    pub fn what(&self) -> &'static str {
        match self.value {
            Raw::Str(_) => "a string",
            Raw::Int(_) => "an integer",
            Raw::Float(_) => "a float",
            Raw::Bool(_) => "a boolean",
            Raw::Array(_) => "a list",
            Raw::Table(_) => "a table",
        }
    }

    /// The value of a key, if this is a table that has it.
    pub fn get(&self, name: &str) -> Option<&Entry> {
        self.entries().iter().find(|e| e.name == name)
    }

    /// The keys, or none if this is no table.
    pub fn entries(&self) -> &[Entry] {
        match &self.value {
            Raw::Table(entries) => entries,
            _ => &[],
        }
    }

    /// A node for a default: `true`, `4`, `[...]` and `{...}` as in TOML, anything else a string.
    pub fn from_default(text: &str) -> Self {
        let value = match text {
            "true" => Raw::Bool(true),
            "false" => Raw::Bool(false),
            _ if text.starts_with(['[', '{']) => {
                let document = format!("x = {text}");
                let tree = parse(&document);
                assert!(tree.errors.is_empty(), "bad default {text}");
                tree.root.get("x").expect("one key").node.value.clone()
            }
            _ => match (crate::units::parse_integer(text), text.parse::<f64>()) {
                (Some(n), _) => Raw::Int(i64::try_from(n).expect("defaults are small")),
                (None, Ok(n)) => Raw::Float(n),
                (None, Err(_)) => Raw::Str(text.to_owned()),
            },
        };
        Self { span: 0..0, value }
    }
}

/// A parsed document.
pub struct Tree {
    /// The top-level table: everything outside the lines with errors.
    pub root: Node,
    /// Syntax errors. If there are any, the tree may lack keys.
    pub errors: Vec<Diagnostic>,
}

/// More syntax errors than this are not looked for.
const SYNTAX_ERRORS_MAX: usize = 20;

/// Parses a document. After a syntax error the line is taken out and the rest is tried again.
pub fn parse(text: &str) -> Tree {
    let mut source = text.to_owned();
    let mut errors = Vec::new();
    loop {
        match toml_span::parse(&source) {
            Ok(value) => return Tree { root: convert(value), errors },
            Err(error) => {
                let span = error.span.start..error.span.end;
                let structural = matches!(
                    error.kind,
                    ErrorKind::RedefineAsArray
                        | ErrorKind::DottedKeyInvalidType { .. }
                        | ErrorKind::UnexpectedEof
                        | ErrorKind::ExceededDepthLimit
                );
                errors.push(syntax_error(&error));
                let blanked = errors.len() < SYNTAX_ERRORS_MAX
                    && match error.kind {
                        ErrorKind::DuplicateTable { .. } => blank_table(&mut source, span.start),
                        _ => !structural && blank_line(&mut source, span.start),
                    };
                if !blanked {
                    return Tree { root: Node { span: 0..0, value: Raw::Table(Vec::new()) }, errors };
                }
            }
        }
    }
}

/// Replaces the line at an offset by spaces. Says no for a header, whose loss would move the keys below it.
fn blank_line(source: &mut String, offset: usize) -> bool {
    let offset = offset.min(source.len());
    let start = source.as_bytes()[..offset].iter().rposition(|b| *b == b'\n').map_or(0, |n| n + 1);
    let end = source.as_bytes()[start..].iter().position(|b| *b == b'\n').map_or(source.len(), |n| start + n);
    let line = source[start..end].trim();
    if line.is_empty() || line.starts_with('[') || !line.contains('=') {
        return false;
    }
    source.replace_range(start..end, &" ".repeat(end - start));
    true
}

/// Replaces the table whose header is at an offset by spaces, up to the next header.
fn blank_table(source: &mut String, offset: usize) -> bool {
    let offset = offset.min(source.len());
    let bytes = source.as_bytes();
    let start = bytes[..offset].iter().rposition(|b| *b == b'\n').map_or(0, |n| n + 1);
    let end = bytes[offset..].windows(2).position(|pair| pair == b"\n[").map_or(source.len(), |n| offset + n);
    if !source[start..end].trim_start().starts_with('[') {
        return false;
    }
    let blank: String = source[start..end].bytes().map(|b| if b == b'\n' { '\n' } else { ' ' }).collect();
    source.replace_range(start..end, &blank);
    true
}

fn syntax_error(error: &toml_span::Error) -> Diagnostic {
    let span = error.span.start..error.span.end;
    let first = |s: &toml_span::Span| s.start..s.end;
    match &error.kind {
        ErrorKind::DuplicateKey { key, first: f } => Diagnostic::at(span, format!("the key `{key}` is given twice"))
            .label("again here")
            .also(first(f), "first here")
            .help("remove one of the two"),
        ErrorKind::DuplicateTable { name, first: f } => {
            Diagnostic::at(span, format!("the table of `{name}` is given twice"))
                .label("again here")
                .also(first(f), "first here")
                .help("join the two tables, or rename one")
        }
        ErrorKind::UnterminatedString | ErrorKind::InvalidCharInString('\n' | '\r') => {
            Diagnostic::at(span, "this string has no end").help("close it with a double quote on the same line")
        }
        ErrorKind::UnexpectedEof => {
            Diagnostic::at(span, "the file ends too early").label("something is still open here")
        }
        ErrorKind::ExceededDepthLimit => Diagnostic::at(span, "too many brackets inside each other"),
        ErrorKind::Unexpected(c) => Diagnostic::at(span, "this is not valid TOML")
            .label(format!("did not expect `{}` here", c.escape_default())),
        ErrorKind::InvalidNumber => Diagnostic::at(span, "not a number TOML knows")
            .label("expected a value")
            .help("write text and quantities with a unit in quotes, like \"4 KiB\"; integers beyond 2^63 as \"0x...\""),
        ErrorKind::UnquotedString => Diagnostic::at(span, "text without quotes")
            .label("expected a value")
            .help("write text and quantities with a unit in quotes, like \"4 KiB\""),
        ErrorKind::Wanted { expected, found } => Diagnostic::at(span, "this is not valid TOML")
            .label(format!("expected {expected}, found {found}")),
        kind => Diagnostic::at(span, "this is not valid TOML").label(kind.to_string()),
    }
}

fn convert(mut value: Value<'_>) -> Node {
    let span = value.span.start..value.span.end;
    let value = match value.take() {
        ValueInner::String(s) => Raw::Str(s.into_owned()),
        ValueInner::Integer(n) => Raw::Int(n),
        ValueInner::Float(n) => Raw::Float(n),
        ValueInner::Boolean(b) => Raw::Bool(b),
        ValueInner::Array(items) => Raw::Array(items.into_iter().map(convert).collect()),
        ValueInner::Table(table) => {
            let mut entries: Vec<Entry> = table
                .into_iter()
                .map(|(key, value)| Entry {
                    name: key.name.into_owned(),
                    key: key.span.start..key.span.end,
                    node: convert(value),
                })
                .collect();
            entries.sort_by_key(|e| e.key.start);
            Raw::Table(entries)
        }
    };
    Node { span, value }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_bad_line_is_reported() {
        let tree = parse("a = 1\nb = 4KiB\nc = \"x\nd = 2\na = 3\n[t]\ne = maybe\n");
        let titles: Vec<&str> = tree.errors.iter().map(|d| d.title.as_str()).collect();
        assert_eq!(titles.len(), 4, "{titles:?}");
        assert!(tree.root.get("d").is_some());
    }

    #[test]
    fn file_order_is_kept() {
        let tree = parse("[z]\n[a]\n[m]\n");
        let names: Vec<&str> = tree.root.entries().iter().map(|e| e.name.as_str()).collect();
        assert_eq!(names, ["z", "a", "m"]);
    }
}
