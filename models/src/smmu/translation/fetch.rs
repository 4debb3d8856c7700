//! With which memory attributes structures and tables are read (IHI 0070, 5.2, 5.4, 6.3.11).

use spec::smmu::page0::IDR3;

use super::super::attributes::{Attributes, Memory, Shareability};
use super::super::control::Control;
use super::{State, Translation};

impl Translation {
    /// Those of the access that was asked for last. Panics if none was.
    pub fn fetch_attributes(&self, control: &Control) -> Attributes {
        let (ste, cd, cr1) = (self.stream.ste, self.context.cd, control.cr1);
        match self.state {
            State::L1Std | State::Ste => Attributes::table(cr1.table_ic(), cr1.table_oc(), cr1.table_sh()),
            State::L1Cd | State::Cd => {
                self.through_stage2(control, Attributes::table(ste.s1cir(), ste.s1cor(), ste.s1csh()))
            }
            State::Descriptor1 | State::Update1 if self.upper() => {
                self.through_stage2(control, Attributes::table(cd.ir1(), cd.or1(), cd.sh1()))
            }
            State::Descriptor1 | State::Update1 => {
                self.through_stage2(control, Attributes::table(cd.ir0(), cd.or0(), cd.sh0()))
            }
            State::Descriptor2 | State::Update2 => Attributes::table(ste.s2ir0(), ste.s2or0(), ste.s2sh0()),
            state => panic!("nothing is read in state {state:?}"),
        }
    }

    /// What stage 2 makes of them, if it has translated the address.
    fn through_stage2(&self, control: &Control, first: Attributes) -> Attributes {
        if !self.stage2 {
            return first;
        }
        if self.under.is_stage2_device() && IDR3(control.features.idr.idr3.into()).ptwnnc() {
            return Attributes::new(Memory::NON_CACHEABLE, Shareability::Outer);
        }
        self.under.output(first)
    }
}
