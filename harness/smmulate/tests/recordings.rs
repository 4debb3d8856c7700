//! Recorded boots of real kernels, run again on the models: every answer, every write to memory and every message must be as it was.
//!
//! `UPDATE_RECORDINGS=1 cargo test -p smmulate --test linux recordings` records them anew.

use std::path::Path;
use std::process::Command;

#[test]
fn recorded_boots_play_the_same() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("recordings");
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()).collect();
    files.sort();
    assert!(!files.is_empty());
    for file in files {
        let output = Command::new(env!("CARGO_BIN_EXE_smmulate")).arg("replay").arg(&file).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{}\n{text}", file.display());
        assert!(text.contains("all as recorded"), "{}\n{text}", file.display());
        assert!(!text.contains("lint, "), "Linux does nothing that is odd: {}\n{text}", file.display());
    }
}

/// A recording that is changed in one word of what the models found, or of what they answered, is no longer what they do.
#[test]
fn a_changed_recording_is_noticed() {
    use standin::machine::Machine;
    use standin::memory::Memory;
    use standin::tape::{Entry, Event, Reader};

    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("recordings/small-kernel-two-psmmus.rec");
    let bytes = std::fs::read(file).unwrap();
    let play = |change: &dyn Fn(&mut Entry)| {
        let mut reader = Reader::new(&bytes[..]).unwrap();
        let header = reader.header().clone();
        let machine = Machine::recorded(&header).unwrap();
        let mut board =
            machine.board(Memory::played(), machine.memory_disks(&header.disks), header.timed).unwrap();
        let mut differing = 0;
        while let Some(mut entry) = reader.entry().unwrap() {
            change(&mut entry);
            differing += u64::from(standin::replay::run(&entry, &mut board).is_some());
        }
        differing
    };
    assert_eq!(play(&|_| ()), 0);
    // An answer.
    let answered = |entry: &mut Entry| {
        if let Event::Read { answer: Some(answer), .. } = &mut entry.event
            && answer.len() == 4
            && entry.at > 1_000_000_000
        {
            answer[0] ^= 1;
        }
    };
    assert!(play(&answered) > 0);
    // A byte of a descriptor or command that the models found in memory.
    let found = |entry: &mut Entry| {
        if let Some(saw) = entry.touched.saw.first_mut().filter(|saw| saw.bytes.len() >= 8) {
            saw.bytes[1] ^= 0x10;
        }
    };
    assert!(play(&found) > 0);
}
