//! Structures in memory: `layout!` declares the fields of a `[u64; N]` by bit positions over the whole structure,
//! little-endian, and gives typed accessors, byte conversion and a table.
//!
//! ```
//! spec::layout! {
//!     /// An example: sixteen bytes.
//!     pub struct Entry([u64; 2]) {
//!         /// The entry may be used.
//!         v[0],
//!         table[51:12] addr,
//!         asid[79:64],
//!     }
//! }
//! let e = Entry::default().with_v(true).with_table(0x8000_1000).with_asid(0x42);
//! assert_eq!(e.words(), [0x8000_1001, 0x42]);
//! assert_eq!(Entry::from_bytes(&e.to_bytes()), e);
//! ```

use crate::regs::FieldDesc;

/// A structure in memory, described by its table of fields.
pub trait Layout: Copy + Default + PartialEq + core::fmt::Debug + 'static {
    /// Name of the structure.
    const NAME: &'static str;
    /// What it is for.
    const DOC: &'static str;
    /// Number of 64-bit words.
    const WORDS: usize;
    /// Fields in the order of the declaration.
    const FIELDS: &'static [FieldDesc];

    /// Word `i`, 0 at the lowest address.
    fn word(&self, i: usize) -> u64;

    /// The same with word `i` replaced.
    #[must_use]
    fn with_word(self, i: usize, value: u64) -> Self;

    /// The field of that name.
    fn field(name: &str) -> Option<&'static FieldDesc> {
        Self::FIELDS.iter().find(|f| f.name == name)
    }

    /// Value of the field of that name, as its accessor presents it.
    fn get_field(&self, name: &str) -> Option<u64> {
        Self::field(name).map(|f| f.extract(self.word(f.word())))
    }

    /// The same with the field of that name replaced.
    ///
    /// # Errors
    /// The field does not exist, or the value does not fit.
    fn with_field(self, name: &str, value: u64) -> Result<Self, String> {
        let Some(f) = Self::field(name) else {
            let names: Vec<_> = Self::FIELDS.iter().map(|f| f.name).collect();
            return Err(format!("{} has no field `{name}`; it has {}", Self::NAME, names.join(", ")));
        };
        if !f.fits(value) {
            return Err(format!("{value:#x} does not fit {}.{}", Self::NAME, f.position()));
        }
        Ok(self.with_word(f.word(), f.insert(self.word(f.word()), value)))
    }
}

/// Declare a structure in memory; see the module's example. A field is `name[bit]` (a `bool`), `name[hi:lo]` (a `u64`
/// shifted to bit 0) or `name[hi:lo] addr` (a `u64` in address position). No field crosses a 64-bit word.
#[macro_export]
macro_rules! layout {
    ($(#[doc = $sdoc:literal])* $vis:vis struct $name:ident([u64; $words:literal]) {
        $( $(#[doc = $fdoc:literal])* $field:ident [ $hi:literal $(: $lo:literal)? ] $($kind:ident)? ),* $(,)?
    }) => {
        $(#[doc = $sdoc])*
        #[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
        #[allow(unreachable_pub)]
        $vis struct $name(
            /// The words, lowest address first.
            pub [u64; $words]
        );

        #[allow(dead_code, unreachable_pub)]
        impl $name {
            /// Size in bytes.
            pub const BYTES: usize = $words * 8;

            /// From its words, lowest address first.
            pub const fn from_words(words: [u64; $words]) -> Self { Self(words) }

            /// Its words, lowest address first.
            pub const fn words(self) -> [u64; $words] { self.0 }

            /// From its bytes in memory.
            ///
            /// # Panics
            /// If the slice is not exactly as long as the structure.
            pub fn from_bytes(bytes: &[u8]) -> Self {
                assert_eq!(bytes.len(), Self::BYTES, "size of {}", stringify!($name));
                let mut words = [0; $words];
                for (word, chunk) in words.iter_mut().zip(bytes.as_chunks::<8>().0) {
                    *word = u64::from_le_bytes(*chunk);
                }
                Self(words)
            }

            /// Its bytes in memory.
            pub fn to_bytes(self) -> [u8; $words * 8] {
                let mut bytes = [0; $words * 8];
                for (word, chunk) in self.0.iter().zip(bytes.as_chunks_mut::<8>().0) {
                    *chunk = word.to_le_bytes();
                }
                bytes
            }

            $( $crate::layout!(@access [$($fdoc)*] $field, $hi $(, $lo)? ; $($kind)?); )*
        }

        impl $crate::layout::Layout for $name {
            const NAME: &'static str = stringify!($name);
            const DOC: &'static str = concat!($($sdoc),*).trim_ascii();
            const WORDS: usize = $words;
            const FIELDS: &'static [$crate::regs::FieldDesc] = &[ $( $crate::regs::FieldDesc {
                name: stringify!($field), hi: $hi, lo: $crate::registers!(@lo $hi $(, $lo)?),
                kind: $crate::registers!(@kind $($kind)?),
                doc: concat!($($fdoc),*).trim_ascii(),
            } ),* ];
            fn word(&self, i: usize) -> u64 { self.0[i] }
            fn with_word(mut self, i: usize, value: u64) -> Self { self.0[i] = value; self }
        }

        impl core::fmt::Debug for $name {
            /// The fields that are not zero.
            fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                $crate::layout::debug(self, f)
            }
        }
    };
    (@access [$($doc:literal)*] $field:ident, $bit:literal ; ) => { $crate::pastey::paste! {
        #[doc = concat!("`", stringify!($field), "`, bit ", stringify!($bit), ".", $($doc),*)]
        pub const fn $field(self) -> bool { $crate::regs::get(self.0[$bit / 64], $bit % 64, $bit % 64) != 0 }
        #[doc = concat!("The same with `", stringify!($field), "` replaced.")]
        #[must_use]
        pub const fn [<with_ $field>](mut self, value: bool) -> Self {
            self.0[$bit / 64] = $crate::regs::set(self.0[$bit / 64], $bit % 64, $bit % 64, value as u64);
            self
        }
    } };
    (@access [$($doc:literal)*] $field:ident, $hi:literal, $lo:literal ; ) => { $crate::pastey::paste! {
        #[doc = concat!("`", stringify!($field), "`, bits ", stringify!($hi), ":", stringify!($lo), ".", $($doc),*)]
        pub const fn $field(self) -> u64 { $crate::regs::get(self.0[$lo / 64], $hi % 64, $lo % 64) }
        #[doc = concat!("The same with `", stringify!($field), "` replaced; bits that do not fit are dropped.")]
        #[must_use]
        pub const fn [<with_ $field>](mut self, value: u64) -> Self {
            self.0[$lo / 64] = $crate::regs::set(self.0[$lo / 64], $hi % 64, $lo % 64, value);
            self
        }
    } };
    (@access [$($doc:literal)*] $field:ident, $hi:literal, $lo:literal ; addr) => { $crate::pastey::paste! {
        #[doc = concat!("`", stringify!($field), "`: address in bits ", stringify!($hi), ":", stringify!($lo), ", in place.", $($doc),*)]
        pub const fn $field(self) -> u64 { self.0[$lo / 64] & $crate::regs::mask($hi % 64, $lo % 64) }
        #[doc = concat!("The same with `", stringify!($field), "` replaced; other address bits are dropped.")]
        #[must_use]
        pub const fn [<with_ $field>](mut self, value: u64) -> Self {
            let mask = $crate::regs::mask($hi % 64, $lo % 64);
            self.0[$lo / 64] = (self.0[$lo / 64] & !mask) | (value & mask);
            self
        }
    } };
}

/// Print the fields that are not zero. Used by the generated `Debug`.
#[doc(hidden)]
pub fn debug<L: Layout>(value: &L, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
    let mut out = f.debug_struct(L::NAME);
    for field in L::FIELDS {
        let bits = field.extract(value.word(field.word()));
        if bits != 0 {
            out.field(field.name, &format_args!("{bits:#x}"));
        }
    }
    out.finish_non_exhaustive()
}

/// Every check that a layout can be given without knowing what it describes. For tests; panics on a flaw.
/// `alternatives` names the fields that share bits with others because only some forms of the structure have them.
pub fn check_layout<L: Layout>(alternatives: &[&str]) {
    let mut seen = vec![0; L::WORDS];
    for (i, f) in L::FIELDS.iter().enumerate() {
        assert!(f.lo <= f.hi && (f.hi as usize) < L::WORDS * 64, "{}.{} is outside", L::NAME, f.position());
        assert!(f.lo / 64 == f.hi / 64, "{}.{} crosses a word", L::NAME, f.position());
        assert!(L::FIELDS[..i].iter().all(|g| g.name != f.name), "{}.{} is not unique", L::NAME, f.name);
        if alternatives.contains(&f.name) {
            continue;
        }
        assert!(seen[f.word()] & f.mask() == 0, "{}.{} overlaps another field", L::NAME, f.position());
        seen[f.word()] |= f.mask();
    }
    for name in alternatives {
        assert!(L::field(name).is_some(), "{} has no field {name}", L::NAME);
    }
}

#[cfg(test)]
mod test {
    use super::*;
    use proptest::prelude::*;

    crate::layout! {
        /// Two words with every kind of field.
        struct Pair([u64; 2]) { flag[3], low[7:4], page[51:12] addr, top[127:126], word[119:64], }
    }

    #[test]
    fn accessors() {
        check_layout::<Pair>(&[]);
        let p = Pair::default().with_flag(true).with_low(0x1f).with_page(u64::MAX).with_top(2).with_word(5);
        assert_eq!(p.words(), [0x000f_ffff_ffff_f0f8, 0x8000_0000_0000_0005]);
        assert_eq!((p.flag(), p.low(), p.page()), (true, 15, 0x000f_ffff_ffff_f000));
        assert_eq!(format!("{:?}", Pair([8, 0])), "Pair { flag: 0x1, .. }");
    }

    #[test]
    fn by_name() {
        let p = Pair::default().with_field("page", 0x3000).unwrap();
        assert_eq!((p.page(), p.get_field("page"), p.get_field("nope")), (0x3000, Some(0x3000), None));
        assert_eq!(p.with_field("low", 16).unwrap_err(), "0x10 does not fit Pair.low[7:4]");
        assert_eq!(p.with_field("page", 0x3001).unwrap_err(), "0x3001 does not fit Pair.page[51:12]");
        assert!(p.with_field("nope", 0).unwrap_err().contains("it has flag, low"));
    }

    proptest! {
        #[test]
        fn bytes_round_trip(words: [u64; 2]) {
            let p = Pair::from_words(words);
            prop_assert_eq!(Pair::from_bytes(&p.to_bytes()), p);
            prop_assert_eq!(u64::from_le_bytes(p.to_bytes()[8..].try_into().unwrap()), words[1]);
        }

        #[test]
        fn set_then_get(words: [u64; 2], value: u64) {
            for f in Pair::FIELDS {
                let old = words[f.word()];
                let new = f.insert(old, value);
                prop_assert_eq!(new & !f.mask(), old & !f.mask());
                prop_assert_eq!(f.insert(old, f.extract(old)), old);
                prop_assert_eq!(f.insert(0, f.extract(new)), new & f.mask());
            }
        }
    }
}
