//! Bytes, counted out by hand from the specification's tables.

use crate::protocol::wire::{
    Command, DeviceInfo, DmaAccess, DmaMap, DmaUnmap, Header, IrqInfo, IrqSet, RegionAccess, RegionInfo,
    Version,
};

/// Bytes of a text of hexadecimal digits, blanks ignored.
pub(super) fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u32> = text.chars().filter_map(|digit| digit.to_digit(16)).collect();
    assert!(digits.len().is_multiple_of(2), "bytes have two digits: {text}");
    digits.chunks(2).map(|pair| (pair[0] << 4 | pair[1]) as u8).collect()
}

macro_rules! golden {
    ($($bytes:literal => $ty:ident { $($field:ident: $value:expr),* $(,)? };)*) => { $({
        let value = $ty { $($field: $value),* };
        assert_eq!(value.encode().to_vec(), hex($bytes), "{value:x?}");
        assert_eq!($ty::decode(&hex($bytes)), Some(value));
        assert_eq!($ty::decode(&hex($bytes)[1..]), None, "{value:x?} from too few bytes");
    })* };
}

#[test]
fn payloads_lie_where_the_specification_says() {
    golden! {
        "3412 0a00 18000000 11000000 00000000" => Header { id: 0x1234, command: 10, size: 24, flags: 0x11, error: 0 };
        "0100 0900 10000000 21000000 16000000" => Header { id: 1, command: 9, size: 16, flags: 0x21, error: 22 };
        "0100 0200" => Version { major: 1, minor: 2 };
        "20000000 03000000 0010000000000000 0000004000000000 0000002000000000" =>
            DmaMap { argsz: 32, flags: 3, offset: 0x1000, address: 0x4000_0000, size: 0x2000_0000 };
        "18000000 02000000 0000004000000000 0000002000000000" =>
            DmaUnmap { argsz: 24, flags: 2, address: 0x4000_0000, size: 0x2000_0000 };
        "10000000 03000000 09000000 05000000" => DeviceInfo { argsz: 16, flags: 3, regions: 9, irqs: 5 };
        "20000000 03000000 07000000 00000000 0010000000000000 0000000001000000" =>
            RegionInfo { argsz: 32, flags: 3, index: 7, cap_offset: 0, size: 0x1000, offset: 1 << 32 };
        "10000000 09000000 01000000 20000000" => IrqInfo { argsz: 16, flags: 9, index: 1, count: 32 };
        "14000000 24000000 01000000 02000000 03000000" => IrqSet { argsz: 20, flags: 0x24, index: 1, start: 2, count: 3 };
        "0102030405060708 07000000 08000000" =>
            RegionAccess { offset: 0x0807_0605_0403_0201, region: 7, count: 8 };
        "4000020800000000 0400000000000000" => DmaAccess { address: 0x0802_0040, count: 4 };
    }
}

#[test]
fn commands_have_the_numbers_of_the_specification() {
    let names: Vec<_> = (0..20).map(|number| Command(number).to_string()).collect();
    expect_test::expect!["0x0 VERSION DMA_MAP DMA_UNMAP DEVICE_GET_INFO DEVICE_GET_REGION_INFO DEVICE_GET_REGION_IO_FDS DEVICE_GET_IRQ_INFO DEVICE_SET_IRQS REGION_READ REGION_WRITE DMA_READ DMA_WRITE DEVICE_RESET 0xe REGION_WRITE_MULTI 0x10 0x11 0x12 0x13"]
        .assert_eq(&names.join(" "));
}
