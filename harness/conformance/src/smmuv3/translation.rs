//! Stage 1: ranges, walks, permissions, and how faults are told.

use spec::smmu::descriptor::{Leaf1, Table};
use spec::smmu::event::class;
use spec::smmu::{Command, EventNumber, EventRecord};

use crate::rig::{DATA, Dma, K4, K64, PAGE1, Rig, Space, fault, holds, same};
use crate::suite::{Check, Need, Row};

const READ: Dma = Dma::read(0x1000);
const WRITE: Dma = Dma::write(0x1000);
const PA: u64 = DATA + 0x1000;

const F_TRANSLATION: EventNumber = EventNumber::F_TRANSLATION;
const F_PERMISSION: EventNumber = EventNumber::F_PERMISSION;

const DENIED: EventRecord = fault(F_PERMISSION, 0x1000);

/// PRIVCFG: everything is privileged.
fn privileged(r: &mut Rig) {
    r.ste(1, |ste| ste.with_privcfg(3));
}

/// INSTCFG: every read is an instruction fetch.
fn fetching(r: &mut Rig) -> Check {
    r.ste(1, |ste| ste.with_instcfg(3));
    r.commands(&[Command::cfgi_ste(1, true)])
}

/// The descriptor of the default page.
fn descriptor(r: &mut Rig) -> (u64, Leaf1) {
    let space = r.one;
    let at = r.descriptor(&space, 0x1000, 3);
    (at, Leaf1([r.peek(at)]))
}

pub(super) const ROWS: &[Row] = &[
    Row::new("X01", "3.3.3", "A mapped address goes where its page is", |r| {
        r.boot()?;
        let before = descriptor(r);
        r.reaches(Dma::read(0x1358), DATA + 0x1358)?;
        r.reaches(Dma::write(0x1360), DATA + 0x1360)?;
        same("the descriptor", descriptor(r), before)
    }),
    Row::new("X02", "7.3.13", "An unmapped address is recorded with the whole address, and aborted", |r| {
        r.boot()?;
        r.aborts(Dma::read(0x2468), &[fault(F_TRANSLATION, 0x2468)])
    }),
    Row::new("X03", "5.5", "R=0 leaves no record of a fault", |r| {
        r.boot()?;
        r.cd(|cd| cd.with_r(false));
        r.aborts(Dma::read(0x2000), &[])
    }),
    Row::new("X04", "5.5", "A=0 ends a fault without error, and R=1 records it", |r| {
        r.boot()?;
        r.cd(|cd| cd.with_a(false));
        r.ignored(Dma::read(0x2000), DATA + 0x2000, &[fault(F_TRANSLATION, 0x2000)])
    }),
    Row::new("X05", "5.5", "A=0 and R=0 drop a faulting write without a trace", |r| {
        r.boot()?;
        r.cd(|cd| cd.with_a(false).with_r(false));
        r.ignored(Dma::write(0x2000), DATA + 0x2000, &[])
    }),
    Row::new("X06", "3.4.1", "An address outside T0SZ does not translate", |r| {
        r.boot()?;
        r.aborts(Dma::read(1 << 48 | 0x1000), &[fault(F_TRANSLATION, 1 << 48 | 0x1000)])
    }),
    Row::new("X07", "3.4.1", "TBI0 ignores the top byte; records keep it", |r| {
        r.boot()?;
        r.cd(|cd| cd.with_tbi0(true));
        let tag = 0x5a << 56;
        r.reaches(Dma::read(tag | 0x1000), PA)?;
        r.aborts(Dma::read(tag | 0x2000), &[fault(F_TRANSLATION, tag | 0x2000)])
    }),
    Row::new(
        "X08",
        "3.4.1",
        "Bit 55 chooses the half under an ignored top byte; EPD1 disables the upper one",
        |r| {
            r.boot()?;
            r.cd(|cd| cd.with_tbi0(true));
            let upper = 0x5a80_0000_0000_1000;
            r.aborts(Dma::read(upper), &[fault(F_TRANSLATION, upper)])
        },
    ),
    Row::new("X09", "7.3.13", "A level-3 descriptor of type 0b01 does not translate", |r| {
        r.boot()?;
        r.page(0x1000, |leaf| leaf.with_page(false));
        r.aborts(READ, &[fault(F_TRANSLATION, 0x1000)])
    }),
    Row::new("X10", "7.3.14", "A page beyond IPS is an address size fault", |r| {
        r.boot()?;
        r.cd(|cd| cd.with_ips(0));
        r.page(0x1000, |leaf| leaf.with_oa(1 << 32));
        r.aborts(READ, &[fault(EventNumber::F_ADDR_SIZE, 0x1000)])
    }),
    Row::new("X11", "7.3.15", "AF=0 is an Access flag fault", |r| {
        r.boot()?;
        r.page(0x1000, |leaf| leaf.with_af(false));
        r.aborts(READ, &[fault(EventNumber::F_ACCESS, 0x1000)])
    }),
    Row::new("X12", "5.4", "AFFD=1 lets AF=0 pass", |r| {
        r.boot()?;
        r.cd(|cd| cd.with_affd(true));
        r.page(0x1000, |leaf| leaf.with_af(false));
        r.reaches(READ, PA)
    }),
    Row::new("X13", "7.3.16", "A write to a read-only page is a permission fault", |r| {
        r.boot()?;
        r.page(0x1000, |leaf| leaf.with_ap(3));
        r.reaches(READ, PA)?;
        r.aborts(WRITE, &[DENIED.with_rnw(false)])
    }),
    Row::new("X14", "7.3.16", "An unprivileged read of a privileged page is a permission fault", |r| {
        r.boot()?;
        r.page(0x1000, |leaf| leaf.with_ap(2));
        r.aborts(READ, &[DENIED])?;
        r.reaches(READ.privileged(), PA)?;
        r.aborts(READ, &[DENIED])?;
        r.aborts(WRITE.privileged(), &[DENIED.with_rnw(false).with_pnu(true)])
    }),
    Row::new("X15", "5.2", "PRIVCFG=3 makes unprivileged traffic privileged, PRIVCFG=2 the reverse", |r| {
        r.boot()?;
        r.page(0x1000, |leaf| leaf.with_ap(2));
        r.reaches(READ.privileged(), PA)?;
        r.aborts(READ, &[DENIED])?;
        privileged(r);
        r.commands(&[Command::cfgi_ste(1, true)])?;
        r.reaches(READ, PA)?;
        r.reaches(READ.privileged(), PA)?;
        r.ste(1, |ste| ste.with_privcfg(2));
        r.commands(&[Command::cfgi_ste(1, true)])?;
        r.aborts(READ.privileged(), &[DENIED])
    }),
    Row::new("X16", "5.4", "PAN=1 denies privileged data access to pages of unprivileged software", |r| {
        r.boot()?;
        r.cd(|cd| cd.with_pan(true));
        r.reaches(READ, PA)?;
        r.aborts(READ.privileged(), &[DENIED.with_pnu(true)])?;
        privileged(r);
        r.commands(&[Command::cfgi_ste(1, true)])?;
        r.aborts(READ, &[DENIED.with_pnu(true)])
    }),
    Row::new("X17", "7.3.16", "UXN=1 denies instruction fetches and permits data", |r| {
        r.boot()?;
        r.page(0x1000, |leaf| leaf.with_uxn(true).with_ap(3));
        r.reaches(READ, PA)?;
        r.aborts(READ.instruction(), &[DENIED.with_ind(true)])?;
        r.reaches(READ.instruction().privileged(), PA)?;
        fetching(r)?;
        r.aborts(READ, &[DENIED.with_ind(true)])?;
        r.ste(1, |ste| ste.with_instcfg(2));
        r.commands(&[Command::cfgi_ste(1, true)])?;
        r.reaches(READ.instruction(), PA)
    }),
    Row::new("X18", "5.4", "WXN=1 denies instruction fetches from writable pages", |r| {
        r.boot()?;
        r.cd(|cd| cd.with_wxn(true));
        r.reaches(READ, PA)?;
        r.aborts(READ.instruction(), &[DENIED.with_ind(true)])?;
        r.page(0x1000, |leaf| leaf.with_ap(3));
        r.commands(&[Command::tlbi_nh_all(0)])?;
        r.reaches(READ.instruction(), PA)?;
        r.page(0x1000, |leaf| leaf.with_ap(1));
        r.commands(&[Command::tlbi_nh_all(0)])?;
        fetching(r)?;
        r.aborts(READ, &[DENIED.with_ind(true)])
    }),
    Row::new("X19", "5.4", "APTable forbids writes below, unless HAD0 disables it", |r| {
        r.boot()?;
        let space = r.one;
        let at = r.descriptor(&space, 0x1000, 2);
        let table = Table([r.peek(at)]).with_aptable(2);
        r.poke(at, table.0[0]);
        r.aborts(WRITE, &[DENIED.with_rnw(false)])?;
        r.cd(|cd| cd.with_had0(true));
        r.commands(&[Command::cfgi_cd(1, 0, true), Command::tlbi_nh_asid(1, 0)])?;
        r.reaches(WRITE, PA)
    }),
    Row::new("X20", "5.4", "E0PD0=1 keeps unprivileged traffic out of the lower half", |r| {
        r.boot()?;
        r.cd(|cd| cd.with_e0pd0(true));
        r.aborts(READ, &[fault(F_TRANSLATION, 0x1000)])?;
        privileged(r);
        r.commands(&[Command::cfgi_ste(1, true)])?;
        r.reaches(READ, PA)
    }),
    Row::new("X21", "5.2", "A write is data, whatever the device or INSTCFG says", |r| {
        r.boot()?;
        r.page(0x1000, |leaf| leaf.with_uxn(true));
        r.reaches(WRITE.instruction(), PA)?;
        r.aborts(Dma::write(0x2000).instruction(), &[fault(F_TRANSLATION, 0x2000).with_rnw(false)])?;
        fetching(r)?;
        r.reaches(WRITE, PA)?;
        r.reaches(WRITE.instruction(), PA)
    }),
    Row::new("X22", "7.3.12", "An aborted read of a descriptor is recorded with its address", |r| {
        r.boot()?;
        let (at, _) = descriptor(r);
        r.break_at(at);
        let record = fault(EventNumber::F_WALK_EABT, 0x1000).with_class(class::TT);
        r.aborts(READ, &[record.with_fetchaddr(at)])
    }),
    Row::new("X23", "3.3.5", "A 2MB block keeps 21 bits of the address", |r| {
        r.boot()?;
        let space = r.one;
        r.map1(&space, 0x20_0000, DATA + 0x20_0000, 2, PAGE1);
        r.reaches(Dma::read(0x3b_cde8), DATA + 0x3b_cde8)
    }),
    Row::new("X24", "5.4", "Big-endian tables translate where both byte orders are supported", |r| {
        r.idr0(|idr0| idr0.with_ttendian(0));
        r.boot()?;
        let space = Space { big_endian: true, ..r.stage1(K4, 48) };
        r.map1(&space, 0x1000, DATA + 0x5000, 3, PAGE1);
        r.cd(|_| space.cd());
        r.reaches(READ, DATA + 0x5000)
    }),
    Row::new(
        "X25",
        "3.4",
        "With 64KB pages and 52-bit addresses, bits 15:12 of a page are bits 51:48",
        |r| {
            r.idr5(|idr5| idr5.with_oas(6));
            r.boot()?;
            let space = r.stage1(K64, 48);
            let pa = 3 << 48 | DATA;
            r.map1(&space, 0x1_0000, pa | 0x5_0000, 3, PAGE1);
            r.cd(|_| space.cd().with_ips(6));
            r.reaches(Dma::read(0x1_2340), pa | 0x5_2340)
        },
    ),
    Row::new("X26", "3.4.1", "StreamWorld EL2 has no upper half", |r| {
        r.boot()?;
        r.ste(1, |ste| ste.with_strw(2));
        r.reaches(READ, PA)?;
        r.aborts(Dma::read(1 << 63 | 0x1000), &[fault(F_TRANSLATION, 1 << 63 | 0x1000)])
    }),
    Row::new("X27", "3.12", "An Access flag fault comes before a permission fault", |r| {
        r.boot()?;
        r.page(0x1000, |leaf| leaf.with_af(false).with_ap(3));
        r.aborts(WRITE, &[fault(EventNumber::F_ACCESS, 0x1000).with_rnw(false)])
    }),
    Row::new("X28", "3.13.2", "HA=1 sets the Access flag in memory instead of faulting", |r| {
        r.boot()?;
        r.cd(|cd| cd.with_ha(true));
        r.page(0x1000, |leaf| leaf.with_af(false));
        let (_, before) = descriptor(r);
        r.reaches(READ, PA)?;
        same("the descriptor", descriptor(r).1, before.with_af(true))
    })
    .needs(Need::Httu),
    Row::new("X29", "3.13.3", "HD=1 makes a writable-clean page dirty when it is written", |r| {
        r.boot()?;
        r.cd(|cd| cd.with_ha(true).with_hd(true));
        r.page(0x1000, |leaf| leaf.with_ap(3).with_dbm(true));
        let (_, before) = descriptor(r);
        r.reaches(READ, PA)?;
        same("the descriptor after a read", descriptor(r).1, before)?;
        r.reaches(WRITE, PA)?;
        same("the descriptor after a write", descriptor(r).1, before.with_ap(1))
    })
    .needs(Need::Httu),
    Row::new("X30", "3.13.3", "Without DBM a read-only page stays so", |r| {
        r.boot()?;
        r.cd(|cd| cd.with_ha(true).with_hd(true));
        r.page(0x1000, |leaf| leaf.with_ap(3).with_af(false));
        let (_, before) = descriptor(r);
        r.aborts(WRITE, &[DENIED.with_rnw(false)])?;
        let (_, after) = descriptor(r);
        holds("nothing but AF may change", after.with_af(false) == before)
    })
    .needs(Need::Httu),
    Row::new("X31", "3.13.3", "With HD=0 DBM does not count", |r| {
        r.boot()?;
        r.cd(|cd| cd.with_ha(true));
        r.page(0x1000, |leaf| leaf.with_ap(3).with_dbm(true));
        let (_, before) = descriptor(r);
        r.aborts(WRITE, &[DENIED.with_rnw(false)])?;
        same("the descriptor", descriptor(r).1, before)
    })
    .needs(Need::Httu),
];
