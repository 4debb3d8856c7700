//! Why a command queue stopped, and the global errors (IHI 0070, 7.1 and 7.5).

crate::open_enum! {
    /// Command error code: CMDQ_CONS.ERR.
    pub struct CommandError(u8) {
        0 CERROR_NONE,
        /// Unknown command or illegal field.
        1 CERROR_ILL,
        /// The command could not be read.
        2 CERROR_ABT,
        /// An ATC_INV did not complete before the CMD_SYNC.
        3 CERROR_ATC_INV_SYNC,
        /// VCMDQs only: the owner may not send this command or name this stream.
        4 CERROR_ILL_ACCESS,
    }
}

crate::open_enum! {
    /// A global error: its bit number in GERROR and GERRORN.
    pub struct GlobalError(u8) {
        /// A command queue stopped.
        0 CMDQ_ERR,
        /// A write to the Event queue was aborted.
        2 EVENTQ_ABT_ERR,
        /// A write to the PRI queue was aborted.
        3 PRIQ_ABT_ERR,
        /// The message of a CMD_SYNC was aborted.
        4 MSI_CMDQ_ABT_ERR,
        /// The message of the Event queue was aborted.
        5 MSI_EVENTQ_ABT_ERR,
        /// The message of the PRI queue was aborted.
        6 MSI_PRIQ_ABT_ERR,
        /// The message of a global error was aborted.
        7 MSI_GERROR_ABT_ERR,
        /// Service failure mode.
        8 SFM_ERR,
        /// An enhanced command queue stopped.
        9 CMDQP_ERR,
        /// Device permission table fault.
        10 DPT_ERR,
    }
}

impl GlobalError {
    /// Its bit in GERROR and GERRORN.
    pub const fn mask(self) -> u64 {
        1 << self.0
    }
}

#[cfg(test)]
mod test {
    use super::*;
    use crate::regs::Block;
    use crate::smmu::Page0;

    #[test]
    fn global_errors_are_the_fields_of_the_register() {
        let fields = Page0::GERROR.desc().fields;
        assert_eq!(fields.len(), GlobalError::ALL.len());
        for &error in GlobalError::ALL {
            let f = fields.iter().find(|f| f.name.eq_ignore_ascii_case(error.name().unwrap())).unwrap();
            assert_eq!(f.mask(), error.mask(), "{error}");
        }
    }

    /// The one value that Linux does not name is from the QEMU model of the CMDQV.
    #[test]
    fn agrees_with_qemu() {
        assert_eq!(CommandError::CERROR_ILL_ACCESS.0, 4);
    }
}
