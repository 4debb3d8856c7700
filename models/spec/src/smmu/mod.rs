//! SMMUv3 (IHI 0070): register pages, configuration structures, descriptors and queue entries, as v3.3 draws them.
//! Address fields therefore end at bit 51.

pub mod atos;
pub mod cd;
pub mod command;
pub mod descriptor;
pub mod ecmdq;
pub mod error;
pub mod event;
pub mod page0;
pub mod page1;
pub mod pmcg;
pub mod pri;
pub mod ste;

pub use atos::Vatos;
pub use cd::{Cd, L1Cd};
pub use command::{Command, Opcode};
pub use ecmdq::{ControlPage, Ecmdq};
pub use error::{CommandError, GlobalError};
pub use event::{EventNumber, EventRecord};
pub use page0::Page0;
pub use page1::Page1;
pub use pmcg::Pmcg;
pub use pri::PageRequest;
pub use ste::{L1Std, Ste};
