//! What is wrong with a file: place, words, remedy; drawn with the line and a caret under it.

use std::ops::Range;

use annotate_snippets::renderer::DecorStyle;
use annotate_snippets::{AnnotationKind, Group, Level, Origin, Renderer, Snippet};

/// A place in a file: bytes `start..end`.
pub type Span = Range<usize>;

/// At most this many diagnostics of one file are drawn.
const SHOWN_MAX: usize = 50;

/// One thing that is wrong with one file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// The headline.
    pub title: String,
    /// The place, if the mistake has one.
    pub span: Option<Span>,
    /// The words at the caret.
    pub label: String,
    /// Other places that matter, with their words.
    pub also: Vec<(Span, String)>,
    /// What to do about it.
    pub help: Vec<String>,
}

impl Diagnostic {
    /// A mistake at a place.
    pub fn at(span: Span, title: impl Into<String>) -> Self {
        Self {
            title: title.into(),
            span: Some(span),
            label: String::new(),
            also: Vec::new(),
            help: Vec::new(),
        }
    }

    /// A mistake of the file as a whole.
    pub fn of_file(title: impl Into<String>) -> Self {
        Self { title: title.into(), span: None, label: String::new(), also: Vec::new(), help: Vec::new() }
    }

    /// Adds the words at the caret.
    #[must_use]
    pub fn label(mut self, label: impl Into<String>) -> Self {
        self.label = label.into();
        self
    }

    /// Points at another place.
    #[must_use]
    pub fn also(mut self, span: Span, label: impl Into<String>) -> Self {
        self.also.push((span, label.into()));
        self
    }

    /// Adds a remedy.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help.push(help.into());
        self
    }
}

/// A table that does not come from the file but was put at its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Addition {
    /// Where it comes from, as the user knows it: a word of the command line.
    pub origin: String,
    /// The kind and name of the table.
    pub head: String,
    /// Its keys, a line each.
    pub keys: String,
}

/// Everything that is wrong with one file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejected {
    /// The file's name as the user gave it.
    pub path: String,
    /// The file's text; empty when it could not be read as text.
    pub text: String,
    /// At least one diagnostic, in file order.
    pub diagnostics: Vec<Diagnostic>,
    /// Parts of the text that are not the file's, and where they come from.
    pub added: Vec<(Span, String)>,
}

impl Rejected {
    /// Draws all diagnostics, with terminal colours if `styled`.
    pub fn render(&self, styled: bool) -> String {
        let renderer = if styled { Renderer::styled() } else { Renderer::plain() };
        let renderer = renderer.decor_style(DecorStyle::Ascii);
        let mut out = String::new();
        for diagnostic in self.diagnostics.iter().take(SHOWN_MAX) {
            out.push_str(&renderer.render(&[self.group(diagnostic)]));
            out.push_str("\n\n");
        }
        if let Some(rest) = self.diagnostics.len().checked_sub(SHOWN_MAX + 1) {
            out.push_str(&format!("... and {} more errors in this file\n\n", rest + 1));
        }
        let n = self.diagnostics.len();
        let mut places: Vec<_> =
            self.diagnostics.iter().map(|d| self.origin(d).unwrap_or(&self.path)).collect();
        places.dedup();
        out.push_str(&format!("{}: {n} error{}\n", places.join(", "), if n == 1 { "" } else { "s" }));
        out
    }

    /// Where the place of a diagnostic comes from, if not from the file.
    fn origin(&self, diagnostic: &Diagnostic) -> Option<&str> {
        let at = diagnostic.span.as_ref()?.start;
        self.added.iter().find(|(span, _)| span.contains(&at)).map(|(_, origin)| origin.as_str())
    }

    fn group<'a>(&'a self, diagnostic: &'a Diagnostic) -> Group<'a> {
        let mut group = Group::with_title(Level::ERROR.primary_title(&diagnostic.title));
        let span = diagnostic.span.clone().filter(|_| !self.text.is_empty());
        group = match (self.origin(diagnostic), span) {
            (Some(origin), _) => {
                let group = group.element(Origin::path(origin));
                match diagnostic.label.is_empty() {
                    true => group,
                    false => group.element(Level::NOTE.message(&diagnostic.label)),
                }
            }
            (None, Some(span)) => {
                let mut primary = AnnotationKind::Primary.span(self.clip(span));
                if !diagnostic.label.is_empty() {
                    primary = primary.label(&diagnostic.label);
                }
                let mut snippet = Snippet::source(&self.text).path(&self.path).annotation(primary);
                for (span, label) in &diagnostic.also {
                    snippet = snippet
                        .annotation(AnnotationKind::Context.span(self.clip(span.clone())).label(label));
                }
                group.element(snippet)
            }
            (None, None) => group.element(Origin::path(&self.path)),
        };
        for help in &diagnostic.help {
            group = group.element(Level::HELP.message(help));
        }
        group
    }

    /// The span, cut to the text, on character boundaries, and to one line if it covers several.
    fn clip(&self, span: Span) -> Span {
        let floor = |mut at: usize| {
            at = at.min(self.text.len());
            while !self.text.is_char_boundary(at) {
                at -= 1;
            }
            at
        };
        let start = floor(span.start);
        let end = floor(span.end).max(start);
        let first_line = self.text[start..end].find('\n').map_or(end, |n| start + n);
        start..first_line
    }
}

/// The line (from 1) of a byte offset.
pub fn line_of(text: &str, offset: usize) -> u32 {
    let upto = &text.as_bytes()[..offset.min(text.len())];
    1 + upto.iter().filter(|b| **b == b'\n').count() as u32
}
