//! Headers and payloads as they lie on the wire.
//!
//! The protocol is in the byte order of the host; this layer speaks little-endian only. Every position is from the
//! vfio-user specification ("Protocol Specification"); payloads begin behind the header.

/// Declares a payload: its fields with their positions, its size, and both directions of conversion.
macro_rules! payload {
    ($($(#[$about:meta])* $name:ident: $size:literal { $($(#[$field_about:meta])* $field:ident: $ty:ty = $at:literal,)* })*) => { $(
        $(#[$about])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct $name {
            $($(#[$field_about])* pub $field: $ty,)*
        }

        impl $name {
            /// Bytes on the wire.
            pub const SIZE: usize = $size;

            /// Reads the start of `bytes`; `None` if they are too few.
            pub fn decode(bytes: &[u8]) -> Option<Self> {
                let bytes: &[u8; $size] = bytes.first_chunk()?;
                Some(Self { $($field: <$ty>::from_le_bytes(*bytes[$at..].first_chunk()?),)* })
            }

            /// The bytes to send; what no field covers is zero.
            pub fn encode(&self) -> [u8; $size] {
                let mut bytes = [0; $size];
                $(bytes[$at..][..size_of::<$ty>()].copy_from_slice(&self.$field.to_le_bytes());)*
                bytes
            }
        }
    )* };
}

payload! {
    /// What every message begins with.
    Header: 16 {
        /// Chosen by the sender of a command, repeated by its reply.
        id: u16 = 0,
        /// A [`Command`].
        command: u16 = 2,
        /// Bytes of the whole message, this header included.
        size: u32 = 4,
        /// Bits of [`flag`].
        flags: u32 = 8,
        /// An errno, if the flags say so.
        error: u32 = 12,
    }

    /// The fixed part of VERSION; a JSON text ended by NUL follows.
    Version: 4 {
        /// 0 so far; both sides must agree.
        major: u16 = 0,
        /// The newest the sender knows.
        minor: u16 = 2,
    }

    /// DMA_MAP. A descriptor comes with it if the memory can be mapped.
    DmaMap: 32 {
        /// Bytes of this payload.
        argsz: u32 = 0,
        /// Bit 0: can be read. Bit 1: can be written.
        flags: u32 = 4,
        /// Where the memory begins in the descriptor's file.
        offset: u64 = 8,
        /// First DMA address.
        address: u64 = 16,
        /// Bytes.
        size: u64 = 24,
    }

    /// DMA_UNMAP, and its reply.
    DmaUnmap: 24 {
        /// Room for the reply.
        argsz: u32 = 0,
        /// Bit 1: everything, address and size are zero (`VFIO_DMA_UNMAP_FLAG_ALL`).
        flags: u32 = 4,
        /// First DMA address.
        address: u64 = 8,
        /// Bytes.
        size: u64 = 16,
    }

    /// DEVICE_GET_INFO and its reply.
    DeviceInfo: 16 {
        /// Room for the reply, or bytes of it.
        argsz: u32 = 0,
        /// Bit 0: DEVICE_RESET works. Bit 1: a PCI function.
        flags: u32 = 4,
        /// How many region indices exist.
        regions: u32 = 8,
        /// How many interrupt indices exist.
        irqs: u32 = 12,
    }

    /// DEVICE_GET_REGION_INFO and its reply.
    RegionInfo: 32 {
        /// Room for the reply, or bytes of it.
        argsz: u32 = 0,
        /// Bit 0: can be read. Bit 1: can be written. Bit 2: can be mapped. Bit 3: capabilities follow.
        flags: u32 = 4,
        /// Which region.
        index: u32 = 8,
        /// Where capabilities begin.
        cap_offset: u32 = 12,
        /// Bytes; zero if the region does not exist.
        size: u64 = 16,
        /// Where a mapping begins in its file.
        offset: u64 = 24,
    }

    /// DEVICE_GET_IRQ_INFO and its reply.
    IrqInfo: 16 {
        /// Room for the reply, or bytes of it.
        argsz: u32 = 0,
        /// Bit 0: eventfds. Bit 1: can be masked. Bit 2: masks itself. Bit 3: set up all at once.
        flags: u32 = 4,
        /// Which kind of interrupt.
        index: u32 = 8,
        /// How many of them.
        count: u32 = 12,
    }

    /// The fixed part of DEVICE_SET_IRQS; with `DATA_BOOL` one byte an interrupt follows.
    IrqSet: 20 {
        /// Bytes of this payload.
        argsz: u32 = 0,
        /// One of bits 0 to 2 says what the data are (none, bool, eventfd), one of 3 to 5 the action (mask, unmask, trigger).
        flags: u32 = 4,
        /// Which kind of interrupt.
        index: u32 = 8,
        /// The first one meant.
        start: u32 = 12,
        /// How many are meant.
        count: u32 = 16,
    }

    /// The fixed part of REGION_READ and REGION_WRITE and of their replies; the data follow.
    RegionAccess: 16 {
        /// First byte, from the start of the region.
        offset: u64 = 0,
        /// Which region.
        region: u32 = 8,
        /// Bytes.
        count: u32 = 12,
    }

    /// The fixed part of DMA_WRITE; the data follow. This is the specification's layout, which QEMU 11.1 follows;
    /// 10.x has a `count` of four bytes.
    DmaAccess: 16 {
        /// First DMA address.
        address: u64 = 0,
        /// Bytes.
        count: u64 = 8,
    }
}

spec::open_enum! {
    /// Which command a message is, or is the reply of.
    pub struct Command(u16) {
        /// Agree on version and capabilities; comes first.
        1 VERSION,
        /// The function may reach this memory.
        2 DMA_MAP,
        /// And now no longer.
        3 DMA_UNMAP,
        /// What kind of device this is.
        4 DEVICE_GET_INFO,
        /// Size and access of one region.
        5 DEVICE_GET_REGION_INFO,
        /// Descriptors in place of region messages.
        6 DEVICE_GET_REGION_IO_FDS,
        /// Number and nature of one kind of interrupt.
        7 DEVICE_GET_IRQ_INFO,
        /// How interrupts are signalled.
        8 DEVICE_SET_IRQS,
        /// Read of configuration space or a BAR.
        9 REGION_READ,
        /// Write of configuration space or a BAR.
        10 REGION_WRITE,
        /// Server to client: read the client's memory.
        11 DMA_READ,
        /// Server to client: write the client's memory.
        12 DMA_WRITE,
        /// Reset the function.
        13 DEVICE_RESET,
        /// Several writes in one message.
        15 REGION_WRITE_MULTI,
    }
}

/// Bits of [`Header::flags`].
pub mod flag {
    /// The bits that tell a command from a reply.
    pub const TYPE: u32 = 0xf;
    /// Type of a command.
    pub const COMMAND: u32 = 0;
    /// Type of a reply.
    pub const REPLY: u32 = 1;
    /// The sender of the command wants no reply.
    pub const NO_REPLY: u32 = 1 << 4;
    /// The command failed.
    pub const ERROR: u32 = 1 << 5;
}

impl Header {
    /// Which command this is, or is the reply of.
    pub fn command(&self) -> Command {
        Command(self.command)
    }

    /// The message is a reply, not a command.
    pub fn is_reply(&self) -> bool {
        self.flags & flag::TYPE == flag::REPLY
    }

    /// The message must not be answered.
    pub fn is_posted(&self) -> bool {
        self.flags & flag::NO_REPLY != 0
    }
}
