//! The declaration tables: one entry per key is the only source for reading, checking, the JSON Schema and the
//! reference.
//!
//! `record!` declares a struct together with its table, `choice!` an enum together with its words. A type that can
//! stand as the value of a key implements [`Field`].

use std::collections::BTreeMap;

use sim::Time;

use crate::diagnostic::{Diagnostic, Span};
use crate::names::Names;
use crate::suggest;
use crate::tree::{Node, Raw};
use crate::units::{self, Address, Bandwidth, Frequency, Rate, Size, UnitError};

/// The type of a key's value.
#[derive(Clone, Debug, PartialEq)]
pub enum Ty {
    /// `true` or `false`.
    Bool,
    /// Any text.
    Text,
    /// An unsigned integer.
    Int,
    /// A number with a fraction.
    Float,
    /// A size with its unit.
    Size,
    /// A time with its unit.
    Time,
    /// A rate with its unit.
    Rate,
    /// A frequency with its unit.
    Frequency,
    /// A bandwidth with its unit.
    Bandwidth,
    /// An integer, a hexadecimal string or a size.
    Address,
    /// Bytes in hexadecimal.
    Bytes,
    /// One of some words, each with its meaning.
    Choice(Vec<(&'static str, &'static str)>),
    /// The name of something else in the file.
    Name(&'static str),
    /// A text with an inner form, described in words.
    Form(&'static str),
    /// A list.
    List(Box<Self>),
    /// A table from names to values.
    Map(&'static str, Box<Self>),
    /// A nested table.
    Record(Table),
    /// One of several types.
    Any(Vec<Self>),
}

/// A table of keys.
#[derive(Clone, Debug, PartialEq)]
pub struct Table {
    /// The Rust name of the struct.
    pub name: &'static str,
    /// What it declares; lines of text.
    pub doc: Vec<&'static str>,
    /// Its keys in the order of the reference.
    pub keys: Vec<Key>,
}

/// One key of a table.
#[derive(Clone, Debug, PartialEq)]
pub struct Key {
    /// The key.
    pub name: &'static str,
    /// Meaning and unit; lines of text.
    pub doc: Vec<&'static str>,
    /// The type of its value.
    pub ty: Ty,
    /// The least and the greatest value allowed.
    pub range: Option<(u64, u64)>,
    /// The value used when the key is absent.
    pub default: Option<&'static str>,
    /// Must be given.
    pub required: bool,
}

/// A type that can be the value of a key.
pub trait Field: Sized {
    /// The type, for schema, reference and error texts.
    fn ty() -> Ty;
    /// Reads a value. `None` after a diagnostic has been pushed.
    fn read(node: &Node, cx: &mut Cx) -> Option<Self>;
    /// The value when neither key nor default is given; `None` makes the key required.
    fn missing() -> Option<Self> {
        None
    }
    /// The number that a range is checked against.
    fn magnitude(&self) -> Option<u64> {
        None
    }
}

/// A struct that is read from a table.
pub trait Record: Sized {
    /// The keys.
    fn table() -> Table;
    /// Reads all keys. `None` after a diagnostic has been pushed.
    fn read(fields: &Fields<'_>, cx: &mut Cx) -> Option<Self>;
}

/// The state of a reading: what is wrong so far, and which names exist.
#[derive(Debug, Default)]
pub struct Cx {
    /// Diagnostics so far.
    pub diagnostics: Vec<Diagnostic>,
    /// Mistakes that are pardoned in a step which expects to fail.
    pub pardonable: Vec<Diagnostic>,
    /// Declared names.
    pub names: Names,
    /// Keys may be absent because a line was not valid TOML.
    pub partial: bool,
}

impl Cx {
    /// Pushes a diagnostic; always `None`, so that a reader can end with it.
    pub fn reject<T>(&mut self, diagnostic: Diagnostic) -> Option<T> {
        self.diagnostics.push(diagnostic);
        None
    }

    /// Rejects a value of the wrong type.
    pub fn wrong_type<T>(&mut self, node: &Node, wanted: &Ty) -> Option<T> {
        self.reject(
            Diagnostic::at(
                node.span.clone(),
                format!("expected {}, found {}", wanted.describe(), node.what()),
            )
            .label(format!("this is {}", node.what()))
            .help(format!("write {}", wanted.example())),
        )
    }

    fn bad_unit<T>(&mut self, node: &Node, ty: &Ty, error: UnitError) -> Option<T> {
        self.reject(
            Diagnostic::at(node.span.clone(), format!("not a valid {}", ty.noun()))
                .label(error.label)
                .help(error.help),
        )
    }
}

/// The keys of one table while it is read.
pub struct Fields<'a> {
    /// The table.
    pub node: &'a Node,
    /// The declaration.
    pub table: Table,
    /// How the table is called in messages, like `[psmmu.smmu0]`.
    pub what: &'a str,
    /// Where to point when a key is missing.
    pub header: Span,
}

impl Fields<'_> {
    /// Reads one key, or takes its default.
    pub fn get<T: Field>(&self, name: &str, cx: &mut Cx) -> Option<T> {
        let key = self.table.keys.iter().find(|k| k.name == name).expect("declared");
        let Some(entry) = self.node.get(name) else {
            return match key.default {
                Some(text) => Some(T::read(&Node::from_default(text), cx).expect("defaults are valid")),
                None => T::missing().or_else(|| self.missing(key, cx)),
            };
        };
        let value = T::read(&entry.node, cx)?;
        if let (Some((low, high)), Some(n)) = (key.range, value.magnitude())
            && !(low..=high).contains(&n)
        {
            return cx.reject(
                Diagnostic::at(entry.node.span.clone(), format!("`{name}` is out of range"))
                    .label(format!("{} is not in {}", key.ty.show(n), key.ty.show_range(low, high)))
                    .help(format!("`{name}` in {}: {}", self.what, key.doc.join(" "))),
            );
        }
        Some(value)
    }

    fn missing<T>(&self, key: &Key, cx: &mut Cx) -> Option<T> {
        if cx.partial {
            return None;
        }
        cx.reject(
            Diagnostic::at(self.header.clone(), format!("{} lacks the key `{}`", self.what, key.name))
                .label(format!("`{}` is required", key.name))
                .help(format!("{} = {}: {}", key.name, key.ty.example(), key.doc.join(" "))),
        )
    }

    /// Rejects keys that the declaration does not have.
    pub fn check_keys(&self, cx: &mut Cx) {
        for entry in self.node.entries() {
            if self.table.keys.iter().any(|k| k.name == entry.name) {
                continue;
            }
            let names = || self.table.keys.iter().map(|k| k.name);
            let mut diagnostic =
                Diagnostic::at(entry.key.clone(), format!("unknown key `{}` in {}", entry.name, self.what));
            if let Some(near) = suggest::nearest(&entry.name, names()) {
                diagnostic = diagnostic.label(format!("did you mean `{near}`?"));
            } else {
                diagnostic = diagnostic.label("not a key of this table");
            }
            cx.diagnostics.push(diagnostic.help(format!("valid keys: {}", suggest::list(names(), 60))));
        }
    }
}

/// Reads a record from a table and rejects unknown keys.
pub fn read_record<R: Record>(node: &Node, what: &str, header: Span, cx: &mut Cx) -> Option<R> {
    let table = R::table();
    if !matches!(node.value, Raw::Table(_)) {
        return cx.wrong_type(node, &Ty::Record(table));
    }
    let fields = Fields { node, table, what, header };
    fields.check_keys(cx);
    R::read(&fields, cx)
}

/// Declares a struct whose fields are the keys of a table.
///
/// `key: Type [low..=high] = "default";` - range and default are optional. The documentation of a field is its text in
/// the reference.
macro_rules! record {
    ($(
        $(#[doc = $doc:literal])+
        $Name:ident {
            $( $(#[doc = $kdoc:literal])+ $key:ident : $ty:ty $([$low:literal ..= $high:expr])? $(= $default:literal)? ; )*
        }
    )+) => {$(
        $(#[doc = $doc])+
        #[derive(Clone, Debug, PartialEq)]
        pub struct $Name {
            $( $(#[doc = $kdoc])+ pub $key: $ty, )*
        }
        impl $crate::declare::Record for $Name {
            fn table() -> $crate::declare::Table {
                $crate::declare::Table {
                    name: stringify!($Name),
                    doc: vec![$($doc.trim()),+],
                    keys: vec![$( {
                        let default: Option<&'static str> = [$($default)?].first().copied();
                        $crate::declare::Key {
                            name: stringify!($key).trim_start_matches("r#"),
                            doc: vec![$($kdoc.trim()),+],
                            ty: <$ty as $crate::declare::Field>::ty(),
                            range: [$(($low, $high))?].first().copied(),
                            default,
                            required: default.is_none() && <$ty as $crate::declare::Field>::missing().is_none(),
                        }
                    } ),*],
                }
            }
            #[allow(unused_variables)]
            fn read(fields: &$crate::declare::Fields<'_>, cx: &mut $crate::declare::Cx) -> Option<Self> {
                $( let $key = fields.get::<$ty>(stringify!($key).trim_start_matches("r#"), cx); )*
                Some(Self { $($key: $key?),* })
            }
        }
        impl $crate::declare::Field for $Name {
            fn ty() -> $crate::declare::Ty {
                $crate::declare::Ty::Record(<Self as $crate::declare::Record>::table())
            }
            fn read(node: &$crate::tree::Node, cx: &mut $crate::declare::Cx) -> Option<Self> {
                let what = format!("this {}", $crate::declare::spaced(stringify!($Name).trim_end_matches("Spec")));
                $crate::declare::read_record(node, &what, node.span.clone(), cx)
            }
        }
    )+};
}
pub(crate) use record;

/// Declares an enum whose values are words.
macro_rules! choice {
    ($(
        $(#[doc = $doc:literal])+
        $Name:ident { $( $(#[doc = $vdoc:literal])+ $Variant:ident = $word:literal ),+ $(,)? }
    )+) => {$(
        $(#[doc = $doc])+
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum $Name { $( $(#[doc = $vdoc])+ $Variant ),+ }
        impl $Name {
            /// Every value, in order.
            pub const ALL: &'static [Self] = &[$(Self::$Variant),+];
            /// The word in a scenario file.
            pub const fn word(self) -> &'static str {
                match self { $(Self::$Variant => $word),+ }
            }
        }
        impl std::fmt::Display for $Name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.word())
            }
        }
        impl $crate::declare::Field for $Name {
            fn ty() -> $crate::declare::Ty {
                $crate::declare::Ty::Choice(vec![$(($word, concat!($($vdoc),+).trim_ascii())),+])
            }
            fn read(node: &$crate::tree::Node, cx: &mut $crate::declare::Cx) -> Option<Self> {
                let word = $crate::declare::read_word(node, &Self::ty(), cx)?;
                Self::ALL.iter().copied().find(|v| v.word() == word)
            }
        }
    )+};
}
pub(crate) use choice;

/// `HwQueueAlloc` as `hw queue alloc`.
pub fn spaced(name: &str) -> String {
    let mut out = String::new();
    for c in name.chars() {
        if c.is_uppercase() && !out.is_empty() {
            out.push(' ');
        }
        out.extend(c.to_lowercase());
    }
    out
}

/// Reads one word of a choice.
pub fn read_word<'a>(node: &'a Node, ty: &Ty, cx: &mut Cx) -> Option<&'a str> {
    let Ty::Choice(words) = ty else { unreachable!("only choices have words") };
    let Raw::Str(text) = &node.value else { return cx.wrong_type(node, ty) };
    if words.iter().any(|(w, _)| w == text) {
        return Some(text);
    }
    let names = || words.iter().map(|(w, _)| *w);
    let label = suggest::nearest(text, names())
        .map_or_else(|| "not one of the valid values".to_owned(), |near| format!("did you mean `{near}`?"));
    cx.reject(
        Diagnostic::at(node.span.clone(), format!("unknown value `{text}`"))
            .label(label)
            .help(format!("valid values: {}", suggest::list(names(), 80))),
    )
}

impl Ty {
    /// The type as a noun: `size`.
    pub fn noun(&self) -> &'static str {
        match self {
            Self::Bool => "boolean",
            Self::Text | Self::Form(_) => "text",
            Self::Int => "integer",
            Self::Float => "number",
            Self::Size => "size",
            Self::Time => "time",
            Self::Rate => "rate",
            Self::Frequency => "frequency",
            Self::Bandwidth => "bandwidth",
            Self::Address => "address",
            Self::Bytes => "byte string",
            Self::Choice(_) => "word",
            Self::Name(_) => "name",
            Self::List(_) => "list",
            Self::Map(..) | Self::Record(_) => "table",
            Self::Any(_) => "value",
        }
    }

    /// The type in the words of the reference: `name of a psmmu`.
    pub fn describe(&self) -> String {
        match self {
            Self::Int => "an integer".to_owned(),
            Self::Address => "an address".to_owned(),
            Self::Text => "text".to_owned(),
            Self::Bytes => "bytes in hexadecimal".to_owned(),
            Self::Name(kind) => format!("the name of {} {kind}", suggest::article(kind)),
            Self::Form(form) => (*form).to_owned(),
            Self::Choice(words) => format!("one of {}", suggest::list(words.iter().map(|(w, _)| *w), 12)),
            Self::List(ty) => format!("a list of {}", ty.describe()),
            Self::Map(key, ty) => format!("a table from {key} to {}", ty.describe()),
            Self::Record(table) => {
                format!("a table with {}", suggest::list(table.keys.iter().map(|k| k.name), 12))
            }
            Self::Any(types) => types.iter().map(Self::describe).collect::<Vec<_>>().join(", or "),
            other => format!("a {}", other.noun()),
        }
    }

    /// Something valid, as it is written in a file.
    pub fn example(&self) -> String {
        match self {
            Self::Bool => "true or false".to_owned(),
            Self::Text => "\"...\"".to_owned(),
            Self::Int => "1".to_owned(),
            Self::Float => "1.5".to_owned(),
            Self::Size => "\"4 KiB\"".to_owned(),
            Self::Time => "\"10 us\"".to_owned(),
            Self::Rate => "\"100 k/s\"".to_owned(),
            Self::Frequency => "\"2 GHz\"".to_owned(),
            Self::Bandwidth => "\"31.5 GB/s\"".to_owned(),
            Self::Address => "0x1000".to_owned(),
            Self::Bytes => "\"de ad be ef\"".to_owned(),
            Self::Choice(words) => format!("\"{}\"", words[0].0),
            Self::Name(kind) => format!("\"<{kind}>\""),
            Self::Form(form) => (*form).to_owned(),
            Self::List(ty) => format!("[{}]", ty.example()),
            Self::Map(_, ty) => format!("{{ name = {} }}", ty.example()),
            Self::Record(table) => {
                let keys: Vec<String> = table
                    .keys
                    .iter()
                    .filter(|k| k.required)
                    .chain(table.keys.iter().filter(|k| !k.required))
                    .take(2)
                    .map(|k| format!("{} = {}", k.name, k.ty.example()))
                    .collect();
                format!("{{ {} }}", keys.join(", "))
            }
            Self::Any(types) => types[0].example(),
        }
    }

    /// A number of this type as text.
    pub fn show(&self, n: u64) -> String {
        match self {
            Self::Size => Size(n).to_string(),
            Self::Time => units::show_time(Time::ps(n)),
            Self::Rate => Rate(n).to_string(),
            Self::Frequency => Frequency(n).to_string(),
            Self::Bandwidth => Bandwidth(n).to_string(),
            Self::Address => Address(n).to_string(),
            Self::Any(types) => types[0].show(n),
            _ => n.to_string(),
        }
    }

    /// A range of this type as text.
    pub fn show_range(&self, low: u64, high: u64) -> String {
        format!("{}..={}", self.show(low), self.show(high))
    }
}

impl Field for bool {
    fn ty() -> Ty {
        Ty::Bool
    }
    fn read(node: &Node, cx: &mut Cx) -> Option<Self> {
        match node.value {
            Raw::Bool(b) => Some(b),
            _ => cx.wrong_type(node, &Ty::Bool),
        }
    }
}

impl Field for String {
    fn ty() -> Ty {
        Ty::Text
    }
    fn read(node: &Node, cx: &mut Cx) -> Option<Self> {
        match &node.value {
            Raw::Str(s) => Some(s.clone()),
            _ => cx.wrong_type(node, &Ty::Text),
        }
    }
}

impl Field for f64 {
    fn ty() -> Ty {
        Ty::Float
    }
    fn read(node: &Node, cx: &mut Cx) -> Option<Self> {
        match node.value {
            Raw::Float(n) if n.is_finite() => Some(n),
            Raw::Int(n) => Some(n as Self),
            _ => cx.wrong_type(node, &Ty::Float),
        }
    }
}

impl Field for u64 {
    fn ty() -> Ty {
        Ty::Int
    }
    fn read(node: &Node, cx: &mut Cx) -> Option<Self> {
        read_unsigned(node, &Ty::Int, cx)
    }
    fn magnitude(&self) -> Option<u64> {
        Some(*self)
    }
}

fn read_unsigned(node: &Node, ty: &Ty, cx: &mut Cx) -> Option<u64> {
    match &node.value {
        Raw::Int(n) => u64::try_from(*n).ok().or_else(|| {
            cx.reject(
                Diagnostic::at(node.span.clone(), format!("{} cannot be negative", ty.describe()))
                    .label("negative")
                    .help("values beyond 2^63 are written as a string: \"0xffff_ffff_ffff_ffff\""),
            )
        }),
        Raw::Str(text) => units::parse_integer(text).or_else(|| cx.wrong_type(node, ty)),
        _ => cx.wrong_type(node, ty),
    }
}

macro_rules! quantity {
    ($($Type:ident, $Ty:ident, $parse:expr, $number:expr;)*) => {$(
        impl Field for $Type {
            fn ty() -> Ty {
                Ty::$Ty
            }
            fn read(node: &Node, cx: &mut Cx) -> Option<Self> {
                match &node.value {
                    Raw::Str(text) => $parse(text).map_or_else(|e| cx.bad_unit(node, &Ty::$Ty, e), Some),
                    Raw::Int(n) => cx.reject(
                        Diagnostic::at(node.span.clone(), format!("a {} needs a unit", Ty::$Ty.noun()))
                            .label("a bare number")
                            .help(format!("write it in quotes with its unit ({n} of what?), like {}", Ty::$Ty.example())),
                    ),
                    _ => cx.wrong_type(node, &Ty::$Ty),
                }
            }
            fn magnitude(&self) -> Option<u64> {
                Some($number(*self))
            }
        }
    )*};
}
quantity! {
    Size, Size, Size::parse, |q: Size| q.0;
    Time, Time, units::parse_time, Time::as_ps;
    Rate, Rate, Rate::parse, |q: Rate| q.0;
    Frequency, Frequency, Frequency::parse, |q: Frequency| q.0;
    Bandwidth, Bandwidth, Bandwidth::parse, |q: Bandwidth| q.0;
}

impl Field for Address {
    fn ty() -> Ty {
        Ty::Address
    }
    fn read(node: &Node, cx: &mut Cx) -> Option<Self> {
        match &node.value {
            Raw::Str(text) => Self::parse(text).map_or_else(|e| cx.bad_unit(node, &Ty::Address, e), Some),
            Raw::Int(_) => read_unsigned(node, &Ty::Address, cx).map(Self),
            _ => cx.wrong_type(node, &Ty::Address),
        }
    }
    fn magnitude(&self) -> Option<u64> {
        Some(self.0)
    }
}

/// Bytes, written in hexadecimal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bytes(pub Vec<u8>);

impl Field for Bytes {
    fn ty() -> Ty {
        Ty::Bytes
    }
    fn read(node: &Node, cx: &mut Cx) -> Option<Self> {
        let Raw::Str(text) = &node.value else { return cx.wrong_type(node, &Ty::Bytes) };
        let digits: Option<Vec<u8>> = text
            .chars()
            .filter(|c| !matches!(c, ' ' | '_'))
            .map(|c| c.to_digit(16).map(|d| d as u8))
            .collect();
        match digits {
            Some(d) if !d.is_empty() && d.len() % 2 == 0 => {
                Some(Self(d.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()))
            }
            _ => cx.reject(
                Diagnostic::at(node.span.clone(), "not a byte string")
                    .label("expected pairs of hexadecimal digits")
                    .help("bytes are written in order of address, like \"de ad be ef\""),
            ),
        }
    }
}

impl<T: Field> Field for Option<T> {
    fn ty() -> Ty {
        T::ty()
    }
    fn read(node: &Node, cx: &mut Cx) -> Option<Self> {
        T::read(node, cx).map(Some)
    }
    fn missing() -> Option<Self> {
        Some(None)
    }
    fn magnitude(&self) -> Option<u64> {
        self.as_ref().and_then(T::magnitude)
    }
}

impl<T: Field> Field for Vec<T> {
    fn ty() -> Ty {
        Ty::List(Box::new(T::ty()))
    }
    fn read(node: &Node, cx: &mut Cx) -> Option<Self> {
        let Raw::Array(items) = &node.value else { return cx.wrong_type(node, &Self::ty()) };
        let read: Vec<Option<T>> = items.iter().map(|item| T::read(item, cx)).collect();
        read.into_iter().collect()
    }
    fn missing() -> Option<Self> {
        Some(Self::new())
    }
}

impl<T: Field> Field for BTreeMap<String, T> {
    fn ty() -> Ty {
        Ty::Map("names", Box::new(T::ty()))
    }
    fn read(node: &Node, cx: &mut Cx) -> Option<Self> {
        let Raw::Table(entries) = &node.value else { return cx.wrong_type(node, &Self::ty()) };
        let read: Vec<Option<(String, T)>> =
            entries.iter().map(|e| T::read(&e.node, cx).map(|v| (e.name.clone(), v))).collect();
        read.into_iter().collect()
    }
    fn missing() -> Option<Self> {
        Some(Self::new())
    }
}

/// A known word, or any number in its place (to try values the interface does not define).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code<T> {
    /// A word the interface defines.
    Known(T),
    /// A raw number.
    Number(u64),
}

impl<T: Field> Field for Code<T> {
    fn ty() -> Ty {
        Ty::Any(vec![T::ty(), Ty::Int])
    }
    fn read(node: &Node, cx: &mut Cx) -> Option<Self> {
        match node.value {
            Raw::Int(_) => u64::read(node, cx).map(Self::Number),
            _ => T::read(node, cx).map(Self::Known),
        }
    }
}
