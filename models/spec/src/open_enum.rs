//! Numbers that have names: any value can exist on the wire, some of them mean something.

/// Declare a newtype over an integer with named values: `pub struct Opcode(u8) { 0x46 SYNC, }`.
///
/// It gets an associated constant per name, `ALL`, `name`, `by_name`, and prints its name (or the number in
/// hexadecimal when it has none).
#[macro_export]
macro_rules! open_enum {
    ($(#[doc = $doc:literal])* $vis:vis struct $name:ident($ty:ty) {
        $( $(#[doc = $vdoc:literal])* $value:literal $variant:ident ),* $(,)?
    }) => {
        $(#[doc = $doc])*
        #[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        $vis struct $name(
            /// The value on the wire.
            pub $ty
        );

        #[allow(non_upper_case_globals)]
        impl $name {
            $( #[doc = concat!("`", stringify!($variant), "` = ", stringify!($value), ".", $($vdoc),*)]
               pub const $variant: Self = Self($value); )*

            /// Every named value, in the order of the declaration.
            pub const ALL: &'static [Self] = &[ $( Self($value) ),* ];

            /// The specification's name, if the value has one.
            pub const fn name(self) -> Option<&'static str> {
                match self.0 { $( $value => Some(stringify!($variant)), )* _ => None }
            }

            /// The value of that name.
            pub fn by_name(name: &str) -> Option<Self> {
                match name { $( stringify!($variant) => Some(Self($value)), )* _ => None }
            }
        }

        impl core::fmt::Display for $name {
            fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                match self.name() {
                    Some(name) => f.pad(name),
                    None => write!(f, "{:#x}", self.0),
                }
            }
        }

        impl core::fmt::Debug for $name {
            fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                core::fmt::Display::fmt(self, f)
            }
        }
    };
}
