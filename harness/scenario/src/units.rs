//! Quantities as people write them: `"4 KiB"`, `"1.5 us"`, `"2 GHz"`, `"100 k/s"`, `"31.5 GB/s"`, `0x1000`.

use std::fmt;

use sim::Time;

/// A number of bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size(pub u64);

/// An address or an offset in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Address(pub u64);

/// Operations per second of simulated time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rate(pub u64);

/// A clock frequency in hertz.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Frequency(pub u64);

/// Bytes per second of simulated time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Bandwidth(pub u64);

/// Why a text is not a quantity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnitError {
    /// What is wrong, in a few words.
    pub label: String,
    /// What to write instead.
    pub help: String,
}

/// A kind of quantity: its units, each with the factor to the base unit.
struct Scale {
    what: &'static str,
    units: &'static [(&'static str, u128)],
    example: &'static str,
}

const SIZE: Scale = Scale {
    what: "size",
    units: &[("B", 1), ("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30), ("TiB", 1 << 40)],
    example: "\"4 KiB\"",
};
const TIME: Scale = Scale {
    what: "time",
    units: &[
        ("ps", 1),
        ("ns", 1_000),
        ("us", 1_000_000),
        ("µs", 1_000_000),
        ("ms", 1_000_000_000),
        ("s", 1_000_000_000_000),
    ],
    example: "\"10 us\"",
};
const RATE: Scale = Scale {
    what: "rate",
    units: &[("/s", 1), ("k/s", 1_000), ("M/s", 1_000_000), ("G/s", 1_000_000_000)],
    example: "\"100 k/s\"",
};
const FREQUENCY: Scale = Scale {
    what: "frequency",
    units: &[("Hz", 1), ("kHz", 1_000), ("MHz", 1_000_000), ("GHz", 1_000_000_000)],
    example: "\"2 GHz\"",
};
const BANDWIDTH: Scale = Scale {
    what: "bandwidth",
    units: &[
        ("B/s", 1),
        ("kB/s", 1_000),
        ("MB/s", 1_000_000),
        ("GB/s", 1_000_000_000),
        ("MiB/s", 1 << 20),
        ("GiB/s", 1 << 30),
    ],
    example: "\"31.5 GB/s\"",
};

impl Size {
    /// Reads a size with its unit.
    pub fn parse(text: &str) -> Result<Self, UnitError> {
        SIZE.parse(text).map(Self)
    }
}

impl Address {
    /// Reads a hexadecimal or decimal number, or a size with its unit.
    pub fn parse(text: &str) -> Result<Self, UnitError> {
        parse_integer(text).map_or_else(|| Size::parse(text).map(|s| Self(s.0)), |n| Ok(Self(n)))
    }
}

impl Rate {
    /// Reads a rate with its unit.
    pub fn parse(text: &str) -> Result<Self, UnitError> {
        RATE.parse(text).map(Self)
    }
}

impl Frequency {
    /// Reads a frequency with its unit.
    pub fn parse(text: &str) -> Result<Self, UnitError> {
        FREQUENCY.parse(text).map(Self)
    }
}

impl Bandwidth {
    /// Reads a bandwidth with its unit.
    pub fn parse(text: &str) -> Result<Self, UnitError> {
        BANDWIDTH.parse(text).map(Self)
    }
}

/// Reads a time with its unit.
pub fn parse_time(text: &str) -> Result<Time, UnitError> {
    TIME.parse(text).map(Time::ps)
}

/// Reads an integer: decimal, `0x`, `0o`, `0b`, underscores between digits.
pub fn parse_integer(text: &str) -> Option<u64> {
    let (digits, radix) = match text.get(..2) {
        Some("0x" | "0X") => (&text[2..], 16),
        Some("0o") => (&text[2..], 8),
        Some("0b") => (&text[2..], 2),
        _ => (text, 10),
    };
    if digits.starts_with(['_', '+', '-']) || digits.ends_with('_') {
        return None;
    }
    u64::from_str_radix(&digits.replace('_', ""), radix).ok()
}

impl Scale {
    fn parse(&self, text: &str) -> Result<u64, UnitError> {
        let trimmed = text.trim();
        let split =
            trimmed.find(|c: char| !(c.is_ascii_digit() || c == '.' || c == '_')).unwrap_or(trimmed.len());
        let (number, unit) = (&trimmed[..split], trimmed[split..].trim_start());
        if number.is_empty() {
            return Err(self.error(format!("`{trimmed}` does not start with a number")));
        }
        if unit.is_empty() {
            return Err(self.error("the unit is missing".to_owned()));
        }
        let Some(&(_, factor)) = self.units.iter().find(|(name, _)| *name == unit) else {
            return Err(self.unknown_unit(unit));
        };
        let Some((mantissa, decimals)) = decimal(number) else {
            return Err(self.error(format!("`{number}` is not a number")));
        };
        let scaled = mantissa.checked_mul(factor);
        let divisor = 10u128.pow(decimals);
        match scaled {
            Some(n) if n % divisor != 0 => {
                Err(self.error(format!("is not a whole number of {}", self.units[0].0)))
            }
            Some(n) => u64::try_from(n / divisor).map_err(|_| self.error("is too large".to_owned())),
            None => Err(self.error("is too large".to_owned())),
        }
    }

    fn unknown_unit(&self, unit: &str) -> UnitError {
        let mut error = self.error(format!("unknown unit `{unit}`"));
        let near = self.units.iter().find(|(name, _)| {
            name.eq_ignore_ascii_case(unit)
                || (self.what == "size" && name.len() == 3 && unit.len() <= 2 && same_prefix(name, unit))
        });
        if let Some((name, _)) = near {
            error.help = format!("did you mean `{name}`? {}", error.help);
        }
        error
    }

    fn error(&self, label: String) -> UnitError {
        let units: Vec<&str> = self.units.iter().map(|(name, _)| *name).filter(|n| n.is_ascii()).collect();
        UnitError {
            label,
            help: format!(
                "a {} is a number and a unit ({}), like {}",
                self.what,
                units.join(", "),
                self.example
            ),
        }
    }
}

fn same_prefix(a: &str, b: &str) -> bool {
    match (a.chars().next(), b.chars().next()) {
        (Some(a), Some(b)) => a.eq_ignore_ascii_case(&b),
        _ => false,
    }
}

/// `"1_024.5"` as (10245, 1): mantissa and number of decimals.
fn decimal(text: &str) -> Option<(u128, u32)> {
    let clean = text.replace('_', "");
    let (whole, fraction) = clean.split_once('.').unwrap_or((&clean, ""));
    if whole.is_empty() || fraction.contains('.') || whole.len() + fraction.len() > 30 {
        return None;
    }
    let mantissa = format!("{whole}{fraction}").parse().ok()?;
    Some((mantissa, fraction.len() as u32))
}

fn show(f: &mut fmt::Formatter<'_>, value: u64, scale: &Scale) -> fmt::Result {
    let best = scale
        .units
        .iter()
        .rev()
        .filter(|(name, _)| name.is_ascii())
        .find(|(_, factor)| u128::from(value) >= *factor && u128::from(value) % factor == 0)
        .unwrap_or(&scale.units[0]);
    write!(f, "{} {}", u128::from(value) / best.1, best.0)
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        show(f, self.0, &SIZE)
    }
}
impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}
impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        show(f, self.0, &RATE)
    }
}
impl fmt::Display for Frequency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        show(f, self.0, &FREQUENCY)
    }
}
impl fmt::Display for Bandwidth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        show(f, self.0, &BANDWIDTH)
    }
}

/// A time with a unit that keeps the number short: `12.3 us`.
pub fn show_time(time: Time) -> String {
    let ps = time.as_ps();
    let (unit, factor) = match ps {
        0..=999 => ("ps", 1),
        1_000..=999_999 => ("ns", 1_000),
        1_000_000..=999_999_999 => ("us", 1_000_000),
        1_000_000_000..=999_999_999_999 => ("ms", 1_000_000_000),
        _ => ("s", 1_000_000_000_000u64),
    };
    let value = ps as f64 / factor as f64;
    if ps.is_multiple_of(factor) { format!("{} {unit}", ps / factor) } else { format!("{value:.1} {unit}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        for (text, bytes) in [
            ("0 B", 0),
            ("4 KiB", 4096),
            ("4KiB", 4096),
            ("1.5 MiB", 3 << 19),
            ("1_024 B", 1024),
            ("16 TiB", 16 << 40),
        ] {
            assert_eq!(Size::parse(text), Ok(Size(bytes)), "{text}");
        }
        for (text, label) in [
            ("4 KB", "unknown unit `KB`"),
            ("KiB", "`KiB` does not start with a number"),
            ("4", "the unit is missing"),
            ("0.3 B", "is not a whole number of B"),
            ("1.2.3 B", "`1.2.3` is not a number"),
            ("99999999 TiB", "is too large"),
            ("9999999999999999999999999999 TiB", "is too large"),
        ] {
            assert_eq!(Size::parse(text).unwrap_err().label, label, "{text}");
        }
        assert!(Size::parse("4 KB").unwrap_err().help.starts_with("did you mean `KiB`?"));
    }

    #[test]
    fn other_quantities() {
        assert_eq!(parse_time("1.5 us"), Ok(Time::ns(1500)));
        assert_eq!(parse_time("1 fortnight").unwrap_err().label, "unknown unit `fortnight`");
        assert_eq!(Rate::parse("2 k/s"), Ok(Rate(2000)));
        assert_eq!(Frequency::parse("2 GHz"), Ok(Frequency(2_000_000_000)));
        assert_eq!(Bandwidth::parse("31.5 GB/s"), Ok(Bandwidth(31_500_000_000)));
        assert_eq!(Address::parse("0xffff_ffff_ffff_ffff"), Ok(Address(u64::MAX)));
        assert_eq!(Address::parse("1 GiB"), Ok(Address(1 << 30)));
    }

    #[test]
    fn integers() {
        for (text, value) in [
            ("12", Some(12)),
            ("0x1F", Some(31)),
            ("1_000", Some(1000)),
            ("0b11", Some(3)),
            ("", None),
            ("0x", None),
            ("-1", None),
            ("_1", None),
            ("é", None),
        ] {
            assert_eq!(parse_integer(text), value, "{text}");
        }
    }

    #[test]
    fn texts() {
        assert_eq!(Size(65536).to_string(), "64 KiB");
        assert_eq!(Size(1000).to_string(), "1000 B");
        assert_eq!(Frequency(2_000_000_000).to_string(), "2 GHz");
        assert_eq!(show_time(Time::ns(1500)), "1.5 us");
        assert_eq!(show_time(Time::ms(10)), "10 ms");
    }
}
