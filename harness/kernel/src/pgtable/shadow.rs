//! The shadow: a copy of the tables on the simulator's side, so that software walks without loads.

use std::collections::BTreeMap;
use std::ops::Range;

use super::{Prot, Run, Shape, TableGone, Unmapped, leaf, link};
use crate::errno::Errno;

/// A 64-bit store to be made.
pub(super) type Edit = (u64, u64);

/// One table.
#[derive(Debug)]
struct Node {
    addr: u64,
    words: Vec<u64>,
    children: BTreeMap<usize, usize>,
    /// Where the descriptor that points here is, and whether that store has been made.
    link: Option<Edit>,
    linked: bool,
}

/// All tables of a [`super::PageTable`].
#[derive(Debug)]
pub(super) struct Shadow {
    shape: Shape,
    nodes: Vec<Option<Node>>,
}

const ROOT: usize = 0;

/// The plan of a map: what must be stored, and which tables become linked by it.
#[derive(Debug, Default)]
pub(super) struct MapPlan {
    /// Stores of table descriptors.
    pub(super) links: Vec<Edit>,
    /// Stores of leaves.
    pub(super) leaves: Vec<Edit>,
    linking: Vec<usize>,
}

/// What an unmap removed, and the stores that it takes.
#[derive(Debug, Default)]
pub(super) struct Removal {
    pub(super) unmapped: Unmapped,
    pub(super) edits: Vec<Edit>,
}

/// A piece of a range at one level.
struct Step {
    node: usize,
    level: u8,
    index: usize,
    size: u64,
}

impl Shadow {
    pub(super) fn new(shape: Shape, root: u64) -> Self {
        let root = Node {
            addr: root,
            words: vec![0; shape.root_entries()],
            children: BTreeMap::new(),
            link: None,
            linked: true,
        };
        Self { shape, nodes: vec![Some(root)] }
    }

    fn node(&self, at: usize) -> &Node {
        self.nodes[at].as_ref().expect("a table that is pointed to exists")
    }
    fn node_mut(&mut self, at: usize) -> &mut Node {
        self.nodes[at].as_mut().expect("a table that is pointed to exists")
    }
    fn index(&self, level: u8, iova: u64) -> usize {
        let index = (iova >> self.shape.shift(level)) as usize;
        if level == self.shape.start_level() { index } else { index & ((1 << self.shape.index_bits()) - 1) }
    }

    /// Goes down from the root as far as tables exist.
    fn descend(&self, iova: u64) -> Step {
        let mut level = self.shape.start_level();
        let mut node = ROOT;
        loop {
            let index = self.index(level, iova);
            match self.node(node).children.get(&index) {
                Some(&child) => {
                    node = child;
                    level += 1;
                }
                None => return Step { node, level, index, size: 1 << self.shape.shift(level) },
            }
        }
    }

    /// The leaf level for what is left of a range: the largest block that fits and for which no table is in the way.
    fn leaf_level(&self, from: u8, iova: u64, pa: u64, len: u64) -> u8 {
        let fits = |level: u8| {
            let size = 1_u64 << self.shape.shift(level);
            self.shape.allows_leaf(level) && len >= size && (iova | pa).is_multiple_of(size)
        };
        (from..=3).find(|&level| fits(level)).expect("a page always fits")
    }

    /// How many tables a map needs that do not exist.
    ///
    /// # Errors
    /// `EEXIST` when part of the range is mapped.
    pub(super) fn missing(&self, iova: u64, pa: u64, len: u64) -> Result<usize, Errno> {
        let (mut done, mut missing) = (0, 0);
        // Tables that this very map adds: level and first address.
        let mut added: Vec<(u8, u64)> = Vec::new();
        while done < len {
            let at = self.descend(iova + done);
            if self.node(at.node).words[at.index] != 0 {
                return Err(Errno::EEXIST);
            }
            let leaf = self.leaf_level(at.level, iova + done, pa + done, len - done);
            for level in at.level..leaf {
                let covers = (level, (iova + done) >> self.shape.shift(level));
                if !added.contains(&covers) {
                    added.push(covers);
                    missing += 1;
                }
            }
            let region = 1_u64 << self.shape.shift(leaf);
            done += region;
            added.retain(|&(level, first)| (iova + done) >> self.shape.shift(level) == first);
        }
        Ok(missing)
    }

    /// Enters a mapping. Takes zeroed tables from `spare`.
    ///
    /// # Errors
    /// `EEXIST` when part of the range is mapped; nothing is changed then.
    ///
    /// # Panics
    /// If `spare` has too few; ask [`Shadow::missing`] under the same lock.
    pub(super) fn map(&mut self, iova: u64, pa: u64, len: u64, prot: Prot, spare: &mut Vec<u64>) -> MapPlan {
        let mut plan = MapPlan::default();
        let mut done = 0;
        while done < len {
            let mut at = self.descend(iova + done);
            let leaf_level = self.leaf_level(at.level, iova + done, pa + done, len - done);
            while at.level < leaf_level {
                let addr = spare.pop().expect("enough tables were counted");
                self.add_table(&at, addr);
                at = self.descend(iova + done);
            }
            self.collect_links(iova + done, &mut plan);
            let page = leaf_level == 3;
            let word = leaf(&self.shape, pa + done, prot, page);
            let node = self.node_mut(at.node);
            node.words[at.index] = word;
            plan.leaves.push((node.addr + 8 * at.index as u64, word));
            done += at.size;
        }
        plan
    }

    fn add_table(&mut self, at: &Step, addr: u64) {
        let word = link(self.shape.granule, addr);
        let parent = self.node_mut(at.node);
        parent.words[at.index] = word;
        let store = (parent.addr + 8 * at.index as u64, word);
        let child = Node {
            addr,
            words: vec![0; 1 << self.shape.index_bits()],
            children: BTreeMap::new(),
            link: Some(store),
            linked: false,
        };
        let slot = self.nodes.iter().skip(1).position(Option::is_none).map_or(self.nodes.len(), |i| i + 1);
        if slot == self.nodes.len() {
            self.nodes.push(Some(child));
        } else {
            self.nodes[slot] = Some(child);
        }
        self.node_mut(at.node).children.insert(at.index, slot);
    }

    /// Descriptors on the way to `iova` that are not known to be in memory. Somebody else may be about to store the
    /// same; storing it twice does no harm, returning from a map before it is there would.
    fn collect_links(&self, iova: u64, plan: &mut MapPlan) {
        let mut level = self.shape.start_level();
        let mut node = ROOT;
        while let Some(&child) = self.node(node).children.get(&self.index(level, iova)) {
            let table = self.node(child);
            if !table.linked && !plan.linking.contains(&child) {
                plan.linking.push(child);
                plan.links.push(table.link.expect("only the root has no link"));
            }
            node = child;
            level += 1;
        }
    }

    /// The stores of a plan have arrived.
    pub(super) fn linked(&mut self, plan: &MapPlan) {
        for &at in &plan.linking {
            if let Some(node) = &mut self.nodes[at] {
                node.linked = true;
            }
        }
    }

    /// Removes whatever is mapped in a range.
    ///
    /// # Errors
    /// `EINVAL` when the range covers part of a block; nothing is changed then.
    pub(super) fn unmap(&mut self, iova: u64, len: u64) -> Result<Removal, Errno> {
        self.check_blocks(iova, len)?;
        let mut out = Removal::default();
        self.unmap_in(ROOT, self.shape.start_level(), 0, &(iova..iova + len), true, &mut out);
        Ok(out)
    }

    /// Whether every leaf that the range touches lies within it: only the two ends can disagree.
    fn check_blocks(&self, iova: u64, len: u64) -> Result<(), Errno> {
        for end in [iova, iova + len] {
            if end >> self.shape.input_bits != 0 {
                continue;
            }
            let at = self.descend(end);
            let word = self.node(at.node).words[at.index];
            if word != 0 && !end.is_multiple_of(at.size) {
                return Err(Errno::EINVAL);
            }
        }
        Ok(())
    }

    /// Clears what `range` covers of the table `at`, whose first input address is `base`. Without `store` the table
    /// itself goes, and its entries need no stores.
    fn unmap_in(
        &mut self,
        at: usize,
        level: u8,
        base: u64,
        range: &Range<u64>,
        store: bool,
        out: &mut Removal,
    ) {
        let size = 1_u64 << self.shape.shift(level);
        let entries = self.node(at).words.len();
        let from = (range.start.saturating_sub(base) / size) as usize;
        let to = ((range.end - base).div_ceil(size) as usize).min(entries);
        for index in from..to {
            let word = self.node(at).words[index];
            if word == 0 {
                continue;
            }
            let here = base + index as u64 * size;
            let child = self.node(at).children.get(&index).copied();
            let whole = range.start <= here && here + size <= range.end;
            match child {
                None => push_run(&mut out.unmapped.runs, here, self.output(word, size), size),
                Some(child) => self.unmap_in(child, level + 1, here, range, store && !whole, out),
            }
            if let Some(child) = child {
                if !whole {
                    continue;
                }
                let addr = self.node(child).addr;
                out.unmapped.tables.push(TableGone { addr, iova: here, len: size });
                self.nodes[child] = None;
            }
            let node = self.node_mut(at);
            node.children.remove(&index);
            node.words[index] = 0;
            if store {
                out.edits.push((node.addr + 8 * index as u64, 0));
            }
        }
    }

    fn output(&self, word: u64, size: u64) -> u64 {
        // Both stages keep the output address in the same place.
        spec::smmu::descriptor::Leaf2::from_words([word]).oa() & !(size - 1)
    }

    /// Output address, and what is left of the leaf behind it.
    pub(super) fn lookup(&self, iova: u64) -> Option<(u64, u64)> {
        if iova >> self.shape.input_bits != 0 {
            return None;
        }
        let at = self.descend(iova);
        let word = self.node(at.node).words[at.index];
        let within = iova & (at.size - 1);
        (word != 0).then(|| (self.output(word, at.size) + within, at.size - within))
    }

    /// Addresses of all tables but the root.
    pub(super) fn tables(&self) -> impl Iterator<Item = u64> + '_ {
        self.nodes.iter().skip(1).flatten().map(|node| node.addr)
    }
}

/// Adds a leaf, joined to the run before if it continues it.
fn push_run(runs: &mut Vec<Run>, iova: u64, pa: u64, size: u64) {
    if let Some(last) = runs.last_mut()
        && last.leaf == size
        && last.iova + last.len == iova
        && last.pa + last.len == pa
    {
        last.len += size;
        return;
    }
    runs.push(Run { iova, pa, len: size, leaf: size });
}
