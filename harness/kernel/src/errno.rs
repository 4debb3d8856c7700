//! Error numbers, as the Linux ABI has them.

use std::fmt;

/// A Linux error number, without sign.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Errno(pub u16);

macro_rules! errnos {
    ($($(#[doc = $doc:literal])* $name:ident = $number:literal),* $(,)?) => {
        impl Errno {
            $($(#[doc = $doc])* pub const $name: Self = Self($number);)*

            /// Every named error number, ascending.
            pub const ALL: &'static [Self] = &[$(Self($number)),*];

            /// The name, if this project uses the number.
            pub const fn name(self) -> Option<&'static str> {
                match self.0 {
                    $($number => Some(stringify!($name)),)*
                    _ => None,
                }
            }
        }
    };
}

errnos! {
    /// Operation not permitted.
    EPERM = 1,
    /// No such object.
    ENOENT = 2,
    /// Input/output error; for iommufd also "the hardware would not accept this".
    EIO = 5,
    /// No such device or address.
    ENXIO = 6,
    /// Structure larger than understood, with a tail that is not zero.
    E2BIG = 7,
    /// Out of memory.
    ENOMEM = 12,
    /// Bad address.
    EFAULT = 14,
    /// In use.
    EBUSY = 16,
    /// Exists already.
    EEXIST = 17,
    /// No such device.
    ENODEV = 19,
    /// Invalid argument.
    EINVAL = 22,
    /// Too many open files.
    EMFILE = 24,
    /// No such ioctl.
    ENOTTY = 25,
    /// No space left: identifiers, slots, queues.
    ENOSPC = 28,
    /// Illegal seek.
    ESPIPE = 29,
    /// Result out of range.
    ERANGE = 34,
    /// Would deadlock.
    EDEADLK = 35,
    /// Value too large.
    EOVERFLOW = 75,
    /// File descriptor in bad state.
    EBADFD = 77,
    /// Message too long.
    EMSGSIZE = 90,
    /// Not supported.
    EOPNOTSUPP = 95,
    /// Address in use.
    EADDRINUSE = 98,
    /// Timed out.
    ETIMEDOUT = 110,
}

impl Errno {
    /// The error number of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|e| e.name() == Some(name))
    }
}

impl fmt::Display for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.pad(name),
            None => write!(f, "errno {}", self.0),
        }
    }
}

impl fmt::Debug for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::error::Error for Errno {}

#[cfg(test)]
mod test {
    use super::*;

    #[test]
    fn names_and_numbers() {
        // Numbers from the generic Linux ABI header.
        for (name, number) in [
            ("EPERM", 1),
            ("EIO", 5),
            ("EINVAL", 22),
            ("ENOSPC", 28),
            ("EOVERFLOW", 75),
            ("EOPNOTSUPP", 95),
            ("ETIMEDOUT", 110),
        ] {
            let errno = Errno::from_name(name).unwrap();
            assert_eq!(errno.0, number);
            assert_eq!(errno.to_string(), name);
        }
        assert_eq!(Errno::from_name("EWHAT"), None);
        assert_eq!(Errno(200).to_string(), "errno 200");
        assert!(Errno::ALL.is_sorted());
    }
}
