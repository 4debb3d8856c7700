//! The reference in `docs/registers`: pages made from the declarations. A new block is a line in [`PAGES`].

use core::fmt::Write;

use crate::cmdqv::config::AllocEntry;
use crate::cmdqv::vintf::SidSlot;
use crate::cmdqv::{Config, QueuePage0, QueuePage1, Vintf};
use crate::layout::Layout;
use crate::regs::{Access, Block, FieldDesc, RegDesc};
use crate::smmu::atos::{Failed, Found};
use crate::smmu::descriptor::{Leaf1, Leaf2, Table};
use crate::smmu::{
    Cd, Command, ControlPage, Ecmdq, EventNumber, EventRecord, L1Cd, L1Std, Opcode, Page0, Page1,
    PageRequest, Ste, Vatos, pmcg,
};
use crate::smmuv2::{Attributes, Bank, Global, Stream};

/// A page of the reference.
#[derive(Clone, Copy, Debug)]
pub struct Page {
    /// File name without its extension.
    pub file: &'static str,
    /// Its heading.
    pub title: &'static str,
    /// What the tables do not say, and where the architecture describes it.
    about: &'static str,
    parts: &'static [fn() -> String],
}

/// All pages, in the order of the index.
#[rustfmt::skip]
pub const PAGES: &[Page] = &[
    page("smmuv3-page0", "SMMUv3 register page 0", "IHI 0070, 6.3. At the base of the SMMU.", &[registers::<Page0>]),
    page("smmuv3-page1", "SMMUv3 register page 1", "IHI 0070, 6.2. 64KB above page 0. The same offsets of page 0 are aliases.", &[registers::<Page1>]),
    page("smmuv3-ecmdq", "Enhanced command queues", "IHI 0070, 3.5.6. What page 0 says of control page `n` is at 0x4000 + 32 `n`. A control page is 64KB; queue `q` of the 2^LOG2NUMQ in it is at `q` × (64KB >> LOG2NUMQ).", &[registers::<ControlPage>, registers::<Ecmdq>]),
    page("smmuv3-vatos", "Address translation operations", "IHI 0070, chapter 9. The VATOS page is 64KB × (2 + BA_VATOS) above page 0; the registers of GATOS are in page 0. PAR of either is one of the structures here.", &[registers::<Vatos>, structure::<Found>, structure::<Failed>]),
    page("stream-table", "Stream table", "IHI 0070, 5.1 and 5.2. Structures in memory, little-endian.", &[structure::<L1Std>, structure::<Ste>]),
    page("context-descriptor", "Context descriptor", "IHI 0070, 5.3 and 5.4. Structures in memory, little-endian.", &[structure::<L1Cd>, structure::<Cd>]),
    page("descriptors", "Translation table descriptors", "VMSAv8-64, DDI 0487, D8.3.", &[structure::<Table>, structure::<Leaf1>, structure::<Leaf2>]),
    page("commands", "Commands", "IHI 0070, chapter 4. Entries of the Command queue and of VCMDQs, 16 bytes.", &[opcodes, structure::<Command>]),
    page("events", "Event records", "IHI 0070, 7.3. Entries of the Event queue, 32 bytes.", &[events, structure::<EventRecord>]),
    page("page-requests", "Page requests", "IHI 0070, 8.1. Entries of the PRI queue, 16 bytes.", &[structure::<PageRequest>]),
    page("cmdqv-global", "CMDQV: global bank and allocation", "Tegra241. CMDQ_ALLOC is an array at 0x200, an entry every 4 bytes.", &[registers::<Config>, registers::<AllocEntry>]),
    page("cmdqv-vintf", "CMDQV: VINTF banks", "Tegra241. Bank `v` is at 0x1000 + 0x100 `v`; the error map of its LVCMDQs, 128 bits, at 0xc0 of the bank.", &[registers::<Vintf>, registers::<SidSlot>]),
    page("cmdqv-queues", "CMDQV: queue pages", "Tegra241. VCMDQ `q` is at 0x80 `q` of the direct pages (0x10000, 0x20000), LVCMDQ `l` of VINTF `v` at 0x80 `l` of the VINTF's (0x30000 + 0x20000 `v`, and 64KB above).", &[registers::<QueuePage0>, registers::<QueuePage1>]),
    page("pmcg", "Performance Monitor Counter Group", "IHI 0070, chapter 10. A page of 4KB, and with RELOC_CTRS a second one.", &[registers::<pmcg::Counter>, registers::<pmcg::Pmcg>]),
    page("smmuv2", "SMMUv2", "IHI 0062, chapters 10, 13 to 16, as far as a stage-1 driver needs them. Pages of 4KB: the global space has 8, then a page for each context bank.", &[registers::<Global>, registers::<Stream>, registers::<Attributes>, registers::<Bank>]),
];

const fn page(
    file: &'static str,
    title: &'static str,
    about: &'static str,
    parts: &'static [fn() -> String],
) -> Page {
    Page { file, title, about, parts }
}

/// First line of every file.
const GENERATED: &str = "<!-- Generated from the declarations in models/spec: `UPDATE_DOCS=1 cargo test -p conformance`. Do not edit. -->\n";

impl Page {
    /// The page as Markdown.
    pub fn markdown(&self) -> String {
        let mut s = format!("{GENERATED}# {}\n\n{}\n", self.title, self.about);
        for part in self.parts {
            s.push('\n');
            s.push_str(&part());
        }
        s
    }
}

/// The index of the pages as Markdown.
pub fn index() -> String {
    let mut s = format!(
        "{GENERATED}# Registers and structures\n\n\
         What `models/spec` declares: one table a block, from which code, storage rules, checks and these pages come. \
         Field names are the architecture's, in capitals; accessors in the code are the same in lower case.\n\n\
         Access: RO ignores writes; RW reads back what was written, unnamed bits excepted, which are RES0; WO reads as zero; \
         W1C clears and W1S sets the bits that are written as 1. Devices add rules of their own: see the modules that keep the registers. Reset values \
         of ID registers are those of a device that has everything that is modelled; presets replace them.\n\n\
         | Page | Architecture |\n|---|---|\n"
    );
    for p in PAGES {
        row(&mut s, &[&format!("[{}]({}.md)", p.title, p.file), p.about]);
    }
    s
}

/// A row of a table.
fn row(s: &mut String, cells: &[&str]) {
    for cell in cells {
        s.push_str("| ");
        s.push_str(cell);
        s.push(' ');
    }
    s.push_str("|\n");
}

/// A doc comment outside rustdoc: its links are only code.
fn plain(doc: &str) -> String {
    doc.replace("[`", "`").replace("`]", "`").replace('|', "\\|")
}

/// A field's name as the architecture writes it.
fn capitals(field: &FieldDesc) -> String {
    field.name.trim_end_matches('_').to_uppercase()
}

/// `hi:lo`, or the only bit.
fn bits(hi: u32, lo: u32) -> String {
    if hi == lo { hi.to_string() } else { format!("{hi}:{lo}") }
}

fn hex(value: u64) -> String {
    if value == 0 { "0".to_owned() } else { format!("{value:#x}") }
}

/// A block of registers: a table of all, then the fields of each.
fn registers<B: Block>() -> String {
    let mut s = format!(
        "## {}\n\n{}\n\n| Offset | Register | Bits | Access | Reset | Purpose |\n|---|---|---|---|---|---|\n",
        B::NAME,
        plain(B::DOC)
    );
    for r in B::TABLE {
        let name = if r.fields.is_empty() {
            r.name.to_owned()
        } else {
            format!("[{}](#{})", r.name, r.name.to_lowercase())
        };
        let access = match r.access {
            Access::Ro => "RO",
            Access::Rw => "RW",
            Access::Wo => "WO",
            Access::W1c => "W1C",
            Access::W1s => "W1S",
        };
        let (offset, bits, reset) = (format!("{:#06x}", r.offset), r.bytes * 8, hex(r.reset));
        row(&mut s, &[&offset, &name, &bits.to_string(), access, &reset, &plain(r.doc)]);
    }
    for r in B::TABLE.iter().filter(|r| !r.fields.is_empty()) {
        s.push('\n');
        fields_of(&mut s, r);
    }
    s
}

/// The fields of one register; with their reset values if they are not all 0.
fn fields_of(s: &mut String, r: &RegDesc) {
    writeln!(s, "### {}\n\n{} Offset {:#x}.\n", r.name, plain(r.doc), r.offset)
        .expect("a String takes everything");
    let resets = r.reset != 0;
    let rest: &[&str] = if resets { &["Reset", "Purpose"] } else { &["Purpose"] };
    let head = [&["Bits", "Field"], rest].concat();
    row(s, &head);
    row(s, &vec!["---"; head.len()]);
    for f in r.fields {
        let (bits, name, doc) = (bits(f.hi, f.lo), capitals(f), plain(f.doc));
        let reset = hex(f.extract(r.reset));
        let mut cells = vec![bits.as_str(), &name];
        cells.extend(resets.then_some(reset.as_str()));
        cells.push(&doc);
        row(s, &cells);
    }
}

/// A structure in memory.
fn structure<L: Layout>() -> String {
    let mut s = format!(
        "## {}\n\n{} {} bytes.\n\n| Bits | Word, bits | Field | Purpose |\n|---|---|---|---|\n",
        L::NAME,
        plain(L::DOC),
        L::WORDS * 8
    );
    let mut fields: Vec<_> = L::FIELDS.iter().collect();
    fields.sort_by_key(|f| f.lo);
    for f in fields {
        let within = format!("{}, {}", f.word(), bits(f.hi % 64, f.lo % 64));
        row(&mut s, &[&bits(f.hi, f.lo), &within, &capitals(f), &plain(f.doc)]);
    }
    s
}

/// Which commands there are, and which fields each has.
fn opcodes() -> String {
    let mut s = String::from(
        "## Opcodes\n\nCommands without fields either have none or are always refused by the Non-secure queue. \
         CFGI_STE_RANGE with RANGE 31 is CFGI_ALL.\n\n| Opcode | Command | Fields |\n|---|---|---|\n",
    );
    for op in Opcode::ALL {
        let fields: Vec<_> = op.fields().map(|f| f.trim_end_matches('_').to_uppercase()).collect();
        row(&mut s, &[&format!("{:#04x}", op.0), &format!("CMD_{op}"), &fields.join(", ")]);
    }
    s
}

/// Which events there are.
fn events() -> String {
    let mut s = String::from(
        "## Events\n\nA record of a transaction carries INPUTADDR, PNU, IND, RNW and, with a translation-related event, S2, CLASS, \
         IPA, STALL and STAG.\n\n| Number | Event | Translation-related | Transaction | FETCHADDR |\n|---|---|---|---|---|\n",
    );
    let yes = |yes: bool| if yes { "yes" } else { "" };
    for e in EventNumber::ALL {
        let (number, name) = (format!("{:#04x}", e.0), e.to_string());
        row(
            &mut s,
            &[
                &number,
                &name,
                yes(e.is_translation_related()),
                yes(e.has_transaction()),
                yes(e.has_fetchaddr()),
            ],
        );
    }
    s
}

#[cfg(test)]
mod test {
    use super::*;

    #[test]
    fn every_link_has_its_heading() {
        for page in PAGES {
            let text = page.markdown();
            let headings: Vec<_> =
                text.lines().filter_map(|l| l.strip_prefix("### ")).map(str::to_lowercase).collect();
            let links = text.split("](#").skip(1).filter_map(|rest| rest.split(')').next());
            for link in links {
                let found = headings.iter().filter(|h| *h == link).count();
                assert_eq!(found, 1, "{}: {link}", page.file);
            }
        }
    }

    #[test]
    fn files_are_unique() {
        let mut files: Vec<_> = PAGES.iter().map(|p| p.file).collect();
        files.sort_unstable();
        files.dedup();
        assert_eq!(files.len(), PAGES.len());
    }
}
