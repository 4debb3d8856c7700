//! Who may do what to a page (DDI 0487, D8.4).

use spec::smmu::descriptor::{Leaf1, Leaf2, Table};

/// A set of permissions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rights(u8);

impl Rights {
    /// Nothing.
    pub const NONE: Self = Self(0);
    /// Everything.
    pub const ALL: Self = Self(0x3f);

    const fn bits(privileged: bool, read: bool, write: bool, execute: bool) -> u8 {
        (read as u8 | (write as u8) << 1 | (execute as u8) << 2) << if privileged { 3 } else { 0 }
    }

    /// From what each privilege may do: (read, write, execute).
    pub const fn new(privileged: (bool, bool, bool), user: (bool, bool, bool)) -> Self {
        Self(
            Self::bits(true, privileged.0, privileged.1, privileged.2)
                | Self::bits(false, user.0, user.1, user.2),
        )
    }

    /// What both sets permit.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// What privileged accesses may do.
    #[must_use]
    pub const fn without_user(self) -> Self {
        Self(self.0 & Self::bits(true, true, true, true))
    }

    /// No writes.
    #[must_use]
    pub const fn without_write(self) -> Self {
        Self(self.0 & !(Self::bits(true, false, true, false) | Self::bits(false, false, true, false)))
    }

    /// Reads at this privilege.
    pub const fn read(self, privileged: bool) -> bool {
        self.0 & Self::bits(privileged, true, false, false) != 0
    }

    /// Writes at this privilege.
    pub const fn write(self, privileged: bool) -> bool {
        self.0 & Self::bits(privileged, false, true, false) != 0
    }

    /// Instruction fetches at this privilege.
    pub const fn execute(self, privileged: bool) -> bool {
        self.0 & Self::bits(privileged, false, false, true) != 0
    }

    /// Whether an access is permitted.
    #[inline]
    pub const fn permits(self, access: Access) -> bool {
        let p = access.privileged;
        if access.instruction {
            return self.execute(p);
        }
        (!access.read || self.read(p)) && (!access.write || self.write(p))
    }
}

/// What an access needs, after the overrides of the STE.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Access {
    /// Reads.
    pub read: bool,
    /// Writes.
    pub write: bool,
    /// Fetches instructions; then neither of the others matters.
    pub instruction: bool,
    /// Privileged.
    pub privileged: bool,
}

impl Access {
    /// How the walker reads tables.
    pub const WALK: Self = Self { read: true, write: false, instruction: false, privileged: true };
    /// How the walker updates them.
    pub const UPDATE: Self = Self { read: false, write: true, ..Self::WALK };

    /// The same after STE.PRIVCFG and STE.INSTCFG.
    #[must_use]
    #[inline]
    pub const fn overridden(self, privcfg: u8, instcfg: u8) -> Self {
        let privileged = match privcfg {
            2 => false,
            3 => true,
            _ => self.privileged,
        };
        let instruction = match instcfg {
            2 => false,
            3 => true,
            _ => self.instruction,
        };
        Self { privileged, instruction: instruction && !self.write, ..self }
    }
}

/// Restrictions collected from table descriptors.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Hierarchy(Table);

impl Hierarchy {
    /// With the restrictions of one more table descriptor.
    #[must_use]
    #[inline]
    pub const fn under(self, table: Table) -> Self {
        Self(self.0.with_restrictions(self.0.restrictions() | table.restrictions()))
    }

    /// No unprivileged access.
    pub const fn no_user(self) -> bool {
        self.0.aptable() & 1 != 0
    }

    /// No writes.
    pub const fn no_write(self) -> bool {
        self.0.aptable() & 2 != 0
    }

    /// UXNTable, or XNTable of EL2.
    pub const fn uxn(self) -> bool {
        self.0.uxntable()
    }

    /// PXNTable.
    pub const fn pxn(self) -> bool {
        self.0.pxntable()
    }
}

/// What of the CD bears on stage-1 permissions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stage1Rules {
    /// One privilege level only (StreamWorld EL2).
    pub el2: bool,
    /// CD.WXN.
    pub wxn: bool,
    /// CD.PAN.
    pub pan: bool,
}

/// Permissions of a stage-1 leaf.
pub const fn stage1(leaf: Leaf1, hierarchy: Hierarchy, rules: Stage1Rules) -> Rights {
    let writable = leaf.ap() & 2 == 0 && !hierarchy.no_write();
    let uxn = leaf.uxn() || hierarchy.uxn();
    if rules.el2 {
        let all = (true, writable, !(uxn || rules.wxn && writable));
        return Rights::new(all, all);
    }
    let user = leaf.ap() & 1 != 0 && !hierarchy.no_user();
    let pxn = leaf.pxn() || hierarchy.pxn();
    let user_writable = user && writable;
    let data = !(rules.pan && user);
    Rights::new(
        (data, data && writable, !(pxn || user_writable || rules.wxn && writable)),
        (user, user_writable, !(uxn || rules.wxn && user_writable)),
    )
}

/// Permissions of a stage-2 leaf. `xnx`: execute permission depends on privilege.
pub const fn stage2(leaf: Leaf2, xnx: bool) -> Rights {
    let (read, write) = (leaf.s2ap() & 1 != 0, leaf.s2ap() & 2 != 0);
    let xn = if xnx { leaf.xn() } else { leaf.xn() & 2 };
    let (privileged, user) = match xn {
        0 => (true, true),
        1 => (false, true),
        2 => (false, false),
        _ => (true, false),
    };
    Rights::new((read, write, privileged), (read, write, user))
}

#[cfg(test)]
mod test {
    use super::*;

    fn show(r: Rights) -> String {
        let one = |p| {
            let mut s = String::new();
            for (has, c) in [(r.read(p), 'r'), (r.write(p), 'w'), (r.execute(p), 'x')] {
                s.push(if has { c } else { '-' });
            }
            s
        };
        format!("{} {}", one(true), one(false))
    }

    /// `AP[2:1]`, UXN, PXN, APTable, WXN, PAN, EL2 -> privileged, unprivileged.
    #[test]
    fn stage_1_matrix() {
        const F: bool = false;
        const T: bool = true;
        for (ap, uxn, pxn, aptable, wxn, pan, el2, want) in [
            (0, F, F, 0, F, F, F, "rwx --x"),
            (1, F, F, 0, F, F, F, "rw- rwx"),
            (2, F, F, 0, F, F, F, "r-x --x"),
            (3, F, F, 0, F, F, F, "r-x r-x"),
            (3, T, F, 0, F, F, F, "r-x r--"),
            (3, F, T, 0, F, F, F, "r-- r-x"),
            (1, F, F, 0, T, F, F, "rw- rw-"),
            (0, F, F, 0, T, F, F, "rw- --x"),
            (1, F, F, 0, F, T, F, "--- rwx"),
            (3, F, F, 0, F, T, F, "--x r-x"),
            (0, F, F, 0, F, T, F, "rwx --x"),
            (1, F, F, 1, F, F, F, "rwx --x"),
            (1, F, F, 2, F, F, F, "r-x r-x"),
            (1, F, F, 3, F, F, F, "r-x --x"),
            (1, F, F, 1, F, T, F, "rwx --x"),
            (0, F, F, 0, F, F, T, "rwx rwx"),
            (2, F, T, 0, F, F, T, "r-x r-x"),
            (0, T, F, 0, F, F, T, "rw- rw-"),
            (0, F, F, 0, T, F, T, "rw- rw-"),
            (1, F, F, 0, F, T, T, "rwx rwx"),
        ] {
            let leaf = Leaf1::default().with_ap(ap).with_uxn(uxn).with_pxn(pxn);
            let hierarchy = Hierarchy::default().under(Table::default().with_aptable(aptable));
            let got = stage1(leaf, hierarchy, Stage1Rules { el2, wxn, pan });
            assert_eq!(
                show(got),
                want,
                "ap={ap} uxn={uxn} pxn={pxn} aptable={aptable} wxn={wxn} pan={pan} el2={el2}"
            );
        }
    }

    #[test]
    fn stage_2_matrix() {
        for (s2ap, xn, xnx, want) in [
            (0, 0, true, "--x --x"),
            (1, 0, true, "r-x r-x"),
            (2, 0, true, "-wx -wx"),
            (3, 0, true, "rwx rwx"),
            (3, 1, true, "rw- rwx"),
            (3, 2, true, "rw- rw-"),
            (3, 3, true, "rwx rw-"),
            (3, 1, false, "rwx rwx"),
            (3, 3, false, "rw- rw-"),
        ] {
            let got = stage2(Leaf2::default().with_s2ap(s2ap).with_xn(xn), xnx);
            assert_eq!(show(got), want, "s2ap={s2ap} xn={xn} xnx={xnx}");
        }
    }

    #[test]
    fn overrides() {
        let data = Access { read: true, write: false, instruction: false, privileged: false };
        let write = Access { read: false, write: true, ..data };
        assert_eq!(data.overridden(0, 0), data);
        assert!(data.overridden(3, 0).privileged && data.overridden(0, 3).instruction);
        assert!(!write.overridden(0, 3).instruction, "writes are data");
        let fetch = Access { instruction: true, ..data };
        assert!(!fetch.overridden(0, 2).instruction);
        assert!(!Access { privileged: true, ..data }.overridden(2, 0).privileged);
    }
}
