//! PRI queue entries (IHI 0070, 8.1).

use core::fmt;

crate::layout! {
    /// One page request of an endpoint.
    pub struct PageRequest([u64; 2]) {
        /// StreamID.
        sid[31:0],
        /// SubstreamID.
        ssid[51:32],
        /// Privileged access.
        priv_[58],
        /// Execute access.
        x[59],
        /// Read access.
        r[60],
        /// Write access.
        w[61],
        /// Last request of its group.
        last[62],
        /// The SubstreamID is valid.
        ssv[63],
        /// Page request group.
        prgindex[72:64],
        /// The page.
        addr[127:76] addr,
    }
}

impl PageRequest {
    /// A marker that no more requests of this PASID will follow.
    pub const fn is_stop_marker(self) -> bool {
        self.ssv() && self.last() && !self.r() && !self.w()
    }
}

impl fmt::Display for PageRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_stop_marker() {
            return write!(f, "STOP_MARKER sid={:#x} ssid={}", self.sid(), self.ssid());
        }
        write!(f, "PAGE_REQUEST sid={:#x}", self.sid())?;
        if self.ssv() {
            write!(f, " ssid={}", self.ssid())?;
        }
        write!(f, " addr={:#x} prgindex={}", self.addr(), self.prgindex())?;
        let flags = [
            (self.r(), " r"),
            (self.w(), " w"),
            (self.x(), " x"),
            (self.priv_(), " priv"),
            (self.last(), " last"),
        ];
        for (set, name) in flags {
            f.write_str(if set { name } else { "" })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod test {
    use super::*;
    use crate::layout::check_layout;

    #[test]
    fn table_is_sound() {
        check_layout::<PageRequest>(&[]);
    }

    #[test]
    fn worked_encoding() {
        let p = PageRequest::default().with_sid(0x100).with_ssv(true).with_ssid(3).with_r(true).with_w(true);
        let p = p.with_last(true).with_prgindex(5).with_addr(0x1000);
        assert_eq!(p.words(), [0xf000_0003_0000_0100, 0x1005]);
        assert_eq!(p.to_string(), "PAGE_REQUEST sid=0x100 ssid=3 addr=0x1000 prgindex=5 r w last");
        let stop = p.with_r(false).with_w(false);
        assert!(!p.is_stop_marker() && stop.is_stop_marker());
        assert_eq!(stop.to_string(), "STOP_MARKER sid=0x100 ssid=3");
    }
}
