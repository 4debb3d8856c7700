//! One boot, one page read, one unmap, one fault: a line per event. Rewrite with `UPDATE_EXPECT=1`.

use super::*;
use crate::smmu::registers::name;
use expect_test::expect;

fn line(record: &Record) -> Option<String> {
    Some(match record {
        Record::SmmuRegister { offset, value, .. } => {
            format!("write {} = {value:#x}", name(*offset))
        }
        Record::SmmuUpdated { offset, value, .. } => {
            format!("update {} = {value:#x}", name(*offset))
        }
        Record::CommandConsumed { index, raw, .. } => format!("consumed [{index}] {raw}"),
        Record::TlbFilled { iova, pa, size_log2, .. } => {
            format!("filled {iova:#x} -> {pa:#x}, 2^{size_log2}")
        }
        Record::DmaTranslated { id, iova, pa, tlb_hit, .. } => {
            format!("dma {id}: {iova:#x} -> {pa:#x}{}", if *tlb_hit { " hit" } else { "" })
        }
        Record::DmaDone { id, .. } => format!("dma {id}: done"),
        Record::DmaAborted { id, iova, event, .. } => format!("dma {id}: {iova:#x} aborted, event {event:?}"),
        Record::EventWritten { record, .. } => format!("event {record}"),
        _ => return None,
    })
}

#[test]
fn boot_and_one_page() {
    let mut b = Bench::with(|_| ());
    b.build_tables();
    b.boot();
    b.read_page(1);
    b.read_page(1);
    b.unmap(1);
    b.submit(&[Command::tlbi_s2_ipa(VMID, 0x1000, true), Command::sync()]);
    b.read_page(1);
    let lines = b.records.iter().filter_map(|(t, r)| line(r).map(|l| format!("{} {l}\n", t.as_ps() / 1000)));
    expect![[r#"
        0 write CR0 = 0x0
        0 write CR1 = 0xd75
        0 write CR2 = 0x2
        0 write STRTAB_BASE = 0x80000000
        0 write STRTAB_BASE_CFG = 0x4
        0 write CMDQ_BASE = 0x80100003
        0 write CMDQ_PROD = 0x0
        0 write CMDQ_CONS = 0x0
        0 write CR0 = 0x8
        100 update CR0ACK = 0x8
        100 write CMDQ_PROD = 0x2
        228 consumed [0] CFGI_ALL
        272 consumed [1] CMD_SYNC
        272 write CMDQ_PROD = 0x4
        400 consumed [2] TLBI_NSNH_ALL
        444 consumed [3] CMD_SYNC
        444 write EVENTQ_BASE = 0x80200003
        444 write EVENTQ_PROD = 0x0
        444 write EVENTQ_CONS = 0x0
        444 write CR0 = 0xc
        544 update CR0ACK = 0xc
        544 write IRQ_CTRL = 0x5
        644 update IRQ_CTRLACK = 0x5
        644 write CR0 = 0xd
        744 update CR0ACK = 0xd
        983 filled 0x1000 -> 0x90001000, 2^12
        983 dma 0: 0x1000 -> 0x90001000
        1034 dma 0: done
        1034 dma 1: 0x1000 -> 0x90001000 hit
        1086 dma 1: done
        1086 write CMDQ_PROD = 0x6
        1214 consumed [4] TLBI_S2_IPA vmid=7 ipa=0x1000 leaf
        1258 consumed [5] CMD_SYNC
        1337 dma 2: 0x1000 aborted, event Some(16)
        1392 event F_TRANSLATION sid=0x5 addr=0x1000 read class=IN s2 ipa=0x1000
    "#]]
    .assert_eq(&lines.collect::<String>());
}

#[test]
fn runs_are_repeatable() {
    let run = || {
        let mut b = Bench::booted();
        for n in 0..40 {
            b.dma(STREAM, (n % 20) << 12, Op::Read { len: 8 });
        }
        b.submit(&[Command::tlbi_nsnh_all(), Command::sync()]);
        (b.records, b.completions, b.psmmu.metrics())
    };
    assert_eq!(run(), run());
}
