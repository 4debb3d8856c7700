//! A function that does one DMA at a time on request of software, for trying what an SMMU does with it.
//!
//! Software writes where and how much, then a command; the DMA is over when the write returns. Registers are 32 bits wide:
//!
//! | Offset | Register | |
//! |---|---|---|
//! | 0x00 | ID | reads [`ID`] |
//! | 0x04 | COMMAND | see [`Command`]; reads 0 |
//! | 0x08, 0x0c | ADDR | address of the DMA |
//! | 0x10 | LEN | bytes, at most [`LONGEST`] |
//! | 0x14 | PATTERN | what a write writes, again and again |
//! | 0x18 | PASID | bit 31: valid; 19:0 the PASID |
//! | 0x1c | STATUS | 0 done, 1 refused, 2 not a command or too long |
//! | 0x20 | DONE | bytes transferred by the last DMA before it ended |
//! | 0x24 | SUM | sum of the 32-bit words of the last read, little-endian, a tail of fewer bytes left out |

/// Value of ID.
pub const ID: u32 = 0x444d_4154;
/// Bytes of the register space.
pub const BAR_SIZE: u64 = 0x1000;
/// Most bytes of one DMA.
pub const LONGEST: u32 = 1 << 20;
/// Bytes that are moved at a time, and never across a multiple of it.
const PIECE: u64 = 4096;

const COMMAND: u64 = 0x04;
const STATUS_DONE: u32 = 0;
const STATUS_REFUSED: u32 = 1;
const STATUS_INVALID: u32 = 2;

/// A DMA that did not reach memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused;

/// The function's way to memory.
pub trait Port {
    /// Reads memory, within a page of 4 KiB.
    ///
    /// # Errors
    /// The DMA was refused.
    fn dma_read(&mut self, pasid: Option<u32>, addr: u64, into: &mut [u8]) -> Result<(), Refused>;
    /// Writes memory, within a page of 4 KiB.
    ///
    /// # Errors
    /// The DMA was refused.
    fn dma_write(&mut self, pasid: Option<u32>, addr: u64, bytes: &[u8]) -> Result<(), Refused>;
    /// Sends the message of an interrupt vector.
    fn interrupt(&mut self, vector: u16);
}

/// What a write to COMMAND asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// 1: write PATTERN to memory.
    Write,
    /// 2: read memory.
    Read,
    /// 3: send the message of vector 0.
    Interrupt,
}

impl Command {
    fn decode(value: u32) -> Option<Self> {
        match value {
            1 => Some(Self::Write),
            2 => Some(Self::Read),
            3 => Some(Self::Interrupt),
            _ => None,
        }
    }
}

/// The function.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tester {
    addr: u64,
    len: u32,
    pattern: u32,
    pasid: u32,
    status: u32,
    done: u32,
    sum: u32,
}

impl Tester {
    /// Back to reset values.
    pub fn reset(&mut self) {
        *self = Self::default();
    }

    /// A register, or zero where there is none.
    pub fn read(&self, offset: u64) -> u32 {
        match offset {
            0x00 => ID,
            0x08 => self.addr as u32,
            0x0c => (self.addr >> 32) as u32,
            0x10 => self.len,
            0x14 => self.pattern,
            0x18 => self.pasid,
            0x1c => self.status,
            0x20 => self.done,
            0x24 => self.sum,
            _ => 0,
        }
    }

    /// Writes a register. A command is over when this returns.
    pub fn write(&mut self, offset: u64, value: u32, port: &mut impl Port) {
        match offset {
            COMMAND => self.command(value, port),
            0x08 => self.addr = self.addr & !0xffff_ffff | u64::from(value),
            0x0c => self.addr = self.addr & 0xffff_ffff | u64::from(value) << 32,
            0x10 => self.len = value,
            0x14 => self.pattern = value,
            0x18 => self.pasid = value & 0x800f_ffff,
            _ => {}
        }
    }

    fn command(&mut self, value: u32, port: &mut impl Port) {
        self.done = 0;
        let Some(command) = Command::decode(value).filter(|_| self.len <= LONGEST) else {
            self.status = STATUS_INVALID;
            return;
        };
        if command == Command::Interrupt {
            port.interrupt(0);
            self.status = STATUS_DONE;
            return;
        }
        let mut sum = Sum::default();
        let refused = self.transfer(command, &mut sum, port).is_err();
        if command == Command::Read {
            self.sum = sum.total;
        }
        self.status = if refused { STATUS_REFUSED } else { STATUS_DONE };
    }

    fn transfer(&mut self, command: Command, sum: &mut Sum, port: &mut impl Port) -> Result<(), Refused> {
        let pasid = (self.pasid >> 31 != 0).then_some(self.pasid & 0xf_ffff);
        let mut page = [0; PIECE as usize];
        while self.done < self.len {
            let addr = self.addr.wrapping_add(self.done.into());
            let n = (PIECE - addr % PIECE).min(u64::from(self.len - self.done)) as u32;
            let piece = &mut page[..n as usize];
            if command == Command::Write {
                let pattern = self.pattern.to_le_bytes();
                for (i, byte) in piece.iter_mut().enumerate() {
                    *byte = pattern[(self.done as usize + i) % 4];
                }
                port.dma_write(pasid, addr, piece)?;
            } else {
                port.dma_read(pasid, addr, piece)?;
                piece.iter().for_each(|&byte| sum.add(byte));
            }
            self.done += n;
        }
        Ok(())
    }
}

/// Adds up words that come byte by byte.
#[derive(Default)]
struct Sum {
    total: u32,
    word: [u8; 4],
    filled: usize,
}

impl Sum {
    fn add(&mut self, byte: u8) {
        self.word[self.filled] = byte;
        self.filled += 1;
        if self.filled == 4 {
            self.total = self.total.wrapping_add(u32::from_le_bytes(self.word));
            self.filled = 0;
        }
    }
}

#[cfg(test)]
mod test {
    use super::*;

    /// Memory of 64 KiB from address 0; nothing answers above.
    struct Plain {
        bytes: Vec<u8>,
        interrupts: u32,
        pasids: Vec<Option<u32>>,
    }

    impl Port for Plain {
        fn dma_read(&mut self, pasid: Option<u32>, addr: u64, into: &mut [u8]) -> Result<(), Refused> {
            self.pasids.push(pasid);
            let from = self.bytes.get(addr as usize..addr as usize + into.len()).ok_or(Refused)?;
            into.copy_from_slice(from);
            Ok(())
        }
        fn dma_write(&mut self, pasid: Option<u32>, addr: u64, bytes: &[u8]) -> Result<(), Refused> {
            self.pasids.push(pasid);
            let to = self.bytes.get_mut(addr as usize..addr as usize + bytes.len()).ok_or(Refused)?;
            to.copy_from_slice(bytes);
            Ok(())
        }
        fn interrupt(&mut self, vector: u16) {
            assert_eq!(vector, 0);
            self.interrupts += 1;
        }
    }

    fn plain() -> Plain {
        Plain { bytes: vec![0; 0x1_0000], interrupts: 0, pasids: Vec::new() }
    }

    fn go(tester: &mut Tester, port: &mut Plain, command: u32, addr: u64, len: u32) -> (u32, u32) {
        tester.write(0x08, addr as u32, port);
        tester.write(0x0c, (addr >> 32) as u32, port);
        tester.write(0x10, len, port);
        tester.write(COMMAND, command, port);
        (tester.read(0x1c), tester.read(0x20))
    }

    #[test]
    fn commands() {
        let (mut tester, mut port) = (Tester::default(), plain());
        tester.write(0x14, 0x0403_0201, &mut port);
        for (command, addr, len, want) in [
            (1, 0xffe, 6, (STATUS_DONE, 6)),
            (2, 0xffe, 6, (STATUS_DONE, 6)),
            (2, 0xf000, 0x2000, (STATUS_REFUSED, 0x1000)),
            (1, 1 << 40, 4, (STATUS_REFUSED, 0)),
            (1, 0, LONGEST + 1, (STATUS_INVALID, 0)),
            (9, 0, 4, (STATUS_INVALID, 0)),
            (3, 0, 4, (STATUS_DONE, 0)),
        ] {
            assert_eq!(go(&mut tester, &mut port, command, addr, len), want, "{command} {addr:#x} {len:#x}");
        }
        assert_eq!(port.bytes[0xffd..0x1005], [0, 1, 2, 3, 4, 1, 2, 0]);
        assert_eq!(port.interrupts, 1);
        assert!(port.pasids.iter().all(Option::is_none));
    }

    #[test]
    fn reads_are_summed_and_name_their_pasid() {
        let (mut tester, mut port) = (Tester::default(), plain());
        port.bytes[0x2000..0x2009].copy_from_slice(&[1, 0, 0, 0, 2, 0, 0, 1, 9]);
        tester.write(0x18, 0x8000_0007, &mut port);
        assert_eq!(go(&mut tester, &mut port, 2, 0x2000, 9), (STATUS_DONE, 9));
        assert_eq!(tester.read(0x24), 0x0100_0003);
        assert_eq!(port.pasids, [Some(7)]);
        tester.reset();
        assert_eq!([0x00, 0x08, 0x18, 0x24].map(|at| tester.read(at)), [ID, 0, 0, 0]);
    }
}
