//! Which SMMU translates for which function (DEN 0049, IORT revision 5).
use acpi_tables::{Aml, AmlSink};

use super::{Layout, sdt};
use crate::boot::layout::{PmcgPlace, SmmuPlace};

const HEADER: u32 = 48;
const NODE_HEADER: u16 = 16;
const ROOT_COMPLEX: u8 = 2;
const ROOT_COMPLEX_REVISION: u8 = 4;
const ROOT_COMPLEX_LENGTH: u16 = NODE_HEADER + 24;
const SMMU_V3: u8 = 4;
/// From this revision on a flag says whether there is a DeviceID mapping; before, Linux looks for one.
const SMMU_V3_REVISION: u8 = 5;
const SMMU_V3_LENGTH: u16 = NODE_HEADER + 52;
const ID_MAPPING_LENGTH: u16 = 20;
const PMCG: u8 = 5;
/// From revision 1 on there is page 1.
const PMCG_REVISION: u8 = 2;
const PMCG_LENGTH: u16 = NODE_HEADER + 24;
/// SMMUv3 node flag: table walks and queue accesses are coherent, whatever IDR0.COHACC says.
const COHACC_OVERRIDE: u32 = 1 << 0;
/// SMMUv3 node model: nothing but the architecture.
const GENERIC: u32 = 0;
/// Memory access properties of the root complex.
const CACHE_COHERENT: u32 = 1;
/// Memory access flags: I/O is coherent (CPM), device memory attributes are as in the CPU's domain (DACS), and the
/// cacheability of stage 1 is forced to write-back (CANWBS).
const ACCESS_FLAGS: u8 = 0b111;
const ATS_SUPPORTED: u32 = 1 << 0;
const ADDRESS_BITS: u8 = 64;

pub(super) fn iort(layout: &Layout) -> impl Aml {
    let mut body = Vec::new();
    let groups: usize = layout.smmus.iter().map(|place| place.pmcgs.len()).sum();
    body.dword(layout.smmus.len() as u32 + 1 + groups as u32);
    body.dword(HEADER);
    body.dword(0);
    for place in &layout.smmus {
        smmu(place, &mut body);
    }
    root_complex(layout, &mut body);
    let mut identifier = layout.smmus.len() as u32;
    for (smmu, place) in layout.smmus.iter().enumerate() {
        for group in &place.pmcgs {
            identifier += 1;
            pmcg(group, smmu, identifier, &mut body);
        }
    }
    sdt(*b"IORT", 5, &body)
}

/// What each node begins with; its ID mappings are at its end.
struct Node {
    kind: u8,
    revision: u8,
    length: u16,
    identifier: u32,
    mappings: u16,
}

impl Node {
    fn write(&self, body: &mut Vec<u8>) {
        body.byte(self.kind);
        body.word(self.length + ID_MAPPING_LENGTH * self.mappings);
        body.byte(self.revision);
        body.dword(self.identifier);
        body.dword(u32::from(self.mappings));
        body.dword(if self.mappings == 0 { 0 } else { u32::from(self.length) });
    }
}

fn smmu(place: &SmmuPlace, body: &mut Vec<u8>) {
    Node {
        kind: SMMU_V3,
        revision: SMMU_V3_REVISION,
        length: SMMU_V3_LENGTH,
        identifier: place.identifier,
        mappings: 0,
    }
    .write(body);
    body.qword(place.registers);
    body.dword(COHACC_OVERRIDE);
    body.dword(0);
    body.qword(0); // VATOS
    body.dword(GENERIC);
    body.dword(place.wires.eventq);
    body.dword(place.wires.priq);
    body.dword(place.wires.gerror);
    body.dword(0); // CMD_SYNC has no interrupt of its own
    body.dword(0); // proximity domain
    body.dword(0); // DeviceID mapping
}

/// A counter group. Its messages would need an interrupt translation service to be mapped to, which the machine has not.
fn pmcg(place: &PmcgPlace, smmu: usize, identifier: u32, body: &mut Vec<u8>) {
    Node { kind: PMCG, revision: PMCG_REVISION, length: PMCG_LENGTH, identifier, mappings: 0 }.write(body);
    body.qword(place.pages[0]);
    body.dword(place.wire);
    body.dword(offset_of(smmu));
    body.qword(place.pages[1]);
}

/// Where the node of an SMMU begins.
fn offset_of(smmu: usize) -> u32 {
    HEADER + u32::from(SMMU_V3_LENGTH) * smmu as u32
}

/// Functions without a mapping are not translated: QEMU's own devices use addresses as they are.
fn root_complex(layout: &Layout, body: &mut Vec<u8>) {
    let endpoints = &layout.platform.endpoints;
    Node {
        kind: ROOT_COMPLEX,
        revision: ROOT_COMPLEX_REVISION,
        length: ROOT_COMPLEX_LENGTH,
        identifier: layout.smmus.len() as u32,
        mappings: endpoints.len() as u16,
    }
    .write(body);
    body.dword(CACHE_COHERENT);
    body.vec(&[0, 0, 0, ACCESS_FLAGS]);
    body.dword(if endpoints.iter().any(|e| e.ats) { ATS_SUPPORTED } else { 0 });
    body.dword(0); // PCI segment
    body.vec(&[ADDRESS_BITS, 0, 0, 0]);
    body.dword(0);
    for (bdf, endpoint) in layout.endpoints() {
        body.dword(u32::from(bdf.requester()));
        body.dword(0); // one ID: the count is given less one
        body.dword(endpoint.stream);
        body.dword(offset_of(endpoint.smmu));
        body.dword(0);
    }
}
