//! `smmulate replay`: a recording, run again on the models alone.

use std::fs::File;
use std::io::BufWriter;
use std::process::ExitCode;

use standin::machine::Machine;
use standin::memory::Memory;
use standin::tape::{Reader, TapeError};

use crate::cli::Replay;
use crate::input_error;
use crate::serve::{create, machine_error, report, say_what_happens};

/// Runs a recording; differences and the summary go to stdout.
pub(crate) fn replay(args: &Replay) -> ExitCode {
    say_what_happens(tracing::Level::WARN);
    let wrong = |why: TapeError| input_error(&format!("`{}` {why}", args.file.display()));
    let reader = File::open(&args.file).map_err(TapeError::from).and_then(Reader::new);
    let mut reader = match reader {
        Ok(reader) => reader,
        Err(why) => return wrong(why),
    };
    let header = reader.header().clone();
    let machine = match Machine::recorded(&header) {
        Ok(machine) => machine,
        Err(why) => return machine_error(&why),
    };
    let disks = machine.memory_disks(&header.disks);
    let mut board = match machine.board(Memory::played(), disks, header.timed) {
        Ok(board) => board,
        Err(why) => return machine_error(&why),
    };
    if let Some(path) = &args.trace {
        match create(path) {
            Ok(file) => board.trace(Box::new(BufWriter::new(file))),
            Err(why) => return input_error(&why),
        }
    }
    let replayed = match standin::replay::replay(&mut reader, &mut board) {
        Ok(replayed) => replayed,
        Err(why) => return wrong(why),
    };
    for divergence in &replayed.divergences {
        anstream::println!("differs   {divergence}");
    }
    let code = report(&board, args.json.as_deref(), replayed.differing == 0, None);
    if args.json.as_deref() != Some(std::path::Path::new("-")) {
        match replayed.differing {
            0 => anstream::println!("replay    {} entries, all as recorded", replayed.entries),
            n => anstream::println!("replay    {n} of {} entries differ", replayed.entries),
        }
    }
    code
}
