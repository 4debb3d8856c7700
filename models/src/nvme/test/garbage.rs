//! Whatever the host does, the controller neither panics nor works without end.

use proptest::prelude::*;

use super::*;

#[derive(Clone, Debug)]
enum Step {
    Write(u64, u64, usize),
    Doorbell(u16, u32),
    Fill(u16, Vec<u64>),
    Refuse(u64),
    Reset,
    Enable,
}

fn step() -> impl Strategy<Value = Step> {
    let value = prop_oneof![any::<u64>(), 0..32_u64, Just(u64::MAX), (0..64_u64).prop_map(|p| p * PAGE)];
    // Words that look like commands more often than not: an opcode of few bits, a small namespace.
    let word = prop_oneof![any::<u64>(), 0..16_u64, (0..13_u64).prop_map(|o| o | 1 << 32), value.clone()];
    prop_oneof![
        1 => (0..0x1400_u64, value, 1..9_usize).prop_map(|(at, v, n)| Step::Write(at, v, n)),
        6 => (0..5_u16, 0..40_u32).prop_map(|(q, v)| Step::Doorbell(q, v)),
        6 => (0..3_u16, prop::collection::vec(word, 8..64)).prop_map(|(q, w)| Step::Fill(q, w)),
        1 => (0..MEMORY / PAGE).prop_map(Step::Refuse),
        1 => Just(Step::Reset),
        2 => Just(Step::Enable),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]
    #[test]
    fn garbage_is_survived_in_bounded_time(steps in prop::collection::vec(step(), 1..60)) {
        let mut driver = Driver::ready_with(Config { mdts: 3, ..Config::default() });
        for step in steps {
            let before = driver.host.accesses;
            match step {
                Step::Write(at, value, len) => {
                    driver.controller.write(at, &value.to_le_bytes()[..len], &mut driver.host);
                    driver.controller.read(at, &mut [0; 8]);
                }
                Step::Doorbell(queue, value) => {
                    driver.write32(sq_tail_doorbell(queue / 2) + 4 * u64::from(queue % 2), value);
                }
                Step::Fill(queue, words) => {
                    let base = [ADMIN_SQ, 0x12_0000, 0x14_0000][usize::from(queue)];
                    for (i, word) in words.iter().enumerate() {
                        driver.host.memory.write_u64(base + 8 * i as u64, *word);
                    }
                }
                Step::Refuse(page) => driver.host.refused.push(page * PAGE..(page + 1) * PAGE),
                Step::Reset => driver.controller.reset(),
                Step::Enable => {
                    driver.host.refused.clear();
                    driver.enable();
                }
            }
            // At most every entry of every queue once, each with 32 KiB of data in pages or a log of 4 KiB.
            let most = 3 * 1024 * 16;
            prop_assert!(driver.host.accesses - before < most, "{} accesses", driver.host.accesses - before);
        }
        driver.host.refused.clear();
        driver.controller.reset();
        driver.enable();
        driver.create(1, 4, 4);
        prop_assert_eq!(driver.run(1, io(Opcode::READ, 1)), Ok(0));
    }
}
