//! Changing an STE or CD that the hardware may be reading: hitless when at most one 64-bit word that matters changes,
//! by way of V=0 otherwise.

use spec::layout::Layout;
use spec::smmu::{Cd, Ste, ste::config};

/// Eight words of an entry.
pub(super) type Words = [u64; 8];

/// One step of a change: the entry as it is to be in memory, to be followed by an invalidation of configuration.
pub(super) type Steps = Vec<Words>;

fn fields<L: Layout>(words: &mut Words, names: &[&str]) {
    for name in names {
        let field = L::field(name).expect("the driver names fields of the layout");
        words[field.word()] |= field.mask();
    }
}

/// Bits of an STE that the hardware looks at.
pub(super) fn used_by_ste(words: &Words) -> Words {
    let ste = Ste::from_words(*words);
    let mut used = [0; 8];
    fields::<Ste>(&mut used, &["v"]);
    if !ste.v() {
        return used;
    }
    fields::<Ste>(&mut used, &["config"]);
    let (stage1, stage2) = match ste.config() {
        config::BYPASS => (false, false),
        config::S1 => (true, false),
        config::S2 => (false, true),
        config::NESTED => (true, true),
        _ => return used,
    };
    fields::<Ste>(&mut used, &["shcfg", "mtcfg", "memattr", "alloccfg", "privcfg", "instcfg"]);
    if stage1 {
        fields::<Ste>(
            &mut used,
            &[
                "s1fmt",
                "s1contextptr",
                "s1cdmax",
                "s1dss",
                "s1cir",
                "s1cor",
                "s1csh",
                "s1stalld",
                "strw",
                "s2vmid",
            ],
        );
    }
    if stage2 {
        fields::<Ste>(
            &mut used,
            &[
                "s2vmid", "s2t0sz", "s2sl0", "s2ir0", "s2or0", "s2sh0", "s2tg", "s2ps", "s2aa64", "s2endi",
                "s2affd", "s2ptw", "s2hd", "s2ha", "s2s", "s2r", "s2ttb", "s2fwb",
            ],
        );
    }
    if stage1 || stage2 {
        fields::<Ste>(&mut used, &["eats", "mev"]);
    }
    used
}

/// Bits of a CD that the hardware looks at.
pub(super) fn used_by_cd(words: &Words) -> Words {
    if Cd::from_words(*words).v() {
        return [u64::MAX; 8];
    }
    let mut used = [0; 8];
    fields::<Cd>(&mut used, &["v"]);
    used
}

/// How to get from `now` to `target`. `used` tells which bits of an entry matter; clearing all of them in word 0
/// must make the entry invalid.
pub(super) fn steps(now: &Words, target: &Words, used: impl Fn(&Words) -> Words) -> Steps {
    let (used_now, used_target) = (used(now), used(target));
    // Everything that the entry does not look at now may be set to what is wanted.
    let prepared: Words = std::array::from_fn(|i| (now[i] & used_now[i]) | (target[i] & !used_now[i]));
    let differs: Vec<usize> = (0..8).filter(|&i| (prepared[i] ^ target[i]) & used_target[i] != 0).collect();
    let mut steps = Steps::new();
    let mut reach = |words: Words| {
        if steps.last().unwrap_or(now) != &words {
            steps.push(words);
        }
    };
    match differs[..] {
        [] => reach(*target),
        [critical] => {
            reach(prepared);
            let mut switched = prepared;
            switched[critical] = target[critical];
            reach(switched);
            reach(*target);
        }
        _ => {
            let mut invalid = prepared;
            invalid[0] = 0;
            reach(invalid);
            let mut filled = *target;
            filled[0] = 0;
            reach(filled);
            reach(*target);
        }
    }
    steps
}

#[cfg(test)]
mod test {
    use proptest::prelude::*;

    use super::*;

    fn ste(kind: u64, pointer: u64, vmid: u64) -> Words {
        let ste = Ste::default().with_v(kind != 8).with_config(kind & 7);
        let ste = match kind {
            config::S1 => ste.with_s1contextptr(pointer).with_s1csh(3).with_s1dss(2),
            config::S2 => ste.with_s2ttb(pointer).with_s2vmid(vmid).with_s2aa64(true).with_s2r(true),
            config::NESTED => {
                ste.with_s1contextptr(pointer).with_s2ttb(0x9000_0000).with_s2vmid(vmid).with_s2aa64(true)
            }
            _ => ste,
        };
        ste.words()
    }

    #[test]
    fn number_of_steps() {
        for (from, to, hitless) in [
            (ste(config::ABORT, 0, 0), ste(config::S1, 0x8000_0000, 0), true),
            (ste(config::S1, 0x8000_0000, 0), ste(config::S1, 0x8000_1000, 0), true),
            (ste(config::S1, 0x8000_0000, 0), ste(config::ABORT, 0, 0), true),
            (ste(config::BYPASS, 0, 0), ste(config::S2, 0x8000_0000, 3), true),
            (ste(config::S1, 0x8000_0000, 0), ste(config::NESTED, 0x8000_0000, 3), false),
            (ste(config::S2, 0x8000_0000, 1), ste(config::S2, 0x9000_0000, 2), false),
        ] {
            let steps = steps(&from, &to, used_by_ste);
            assert_eq!(steps.iter().all(|s| Ste::from_words(*s).v()), hitless, "{from:x?} {to:x?}");
            assert_eq!(steps.last(), Some(&to));
        }
        assert!(steps(&ste(config::BYPASS, 0, 0), &ste(config::BYPASS, 0, 0), used_by_ste).is_empty());
    }

    proptest! {
        /// Whatever order the eight words of a step reach memory in, the hardware sees the old entry, the new one, or
        /// an invalid one.
        #[test]
        fn no_mixture_is_ever_seen(a in 0_u64..9, b in 0_u64..9, pa in 0_u64..4, pb in 0_u64..4, order in any::<u8>()) {
            let (from, to) = (ste(a, pa << 20, pa), ste(b, pb << 20, pb));
            let looks = |w: &Words| { let u = used_by_ste(w); std::array::from_fn::<u64, 8, _>(|i| w[i] & u[i]) };
            let mut now = from;
            for step in steps(&from, &to, used_by_ste) {
                for i in 0..8 {
                    let i = (i + usize::from(order)) % 8;
                    now[i] = step[i];
                    let seen = looks(&now);
                    prop_assert!(seen[0] & 1 == 0 || seen == looks(&from) || seen == looks(&to), "{:x?} {:x?} {:x?}", from, now, to);
                }
            }
            prop_assert_eq!(now, to);
        }
    }
}
