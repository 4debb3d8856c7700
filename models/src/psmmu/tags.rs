//! Tags of bus transactions: what each outstanding one is for.

/// Values by small numbers that are reused.
#[derive(Clone, Debug)]
pub(super) struct Tags<T> {
    slots: Vec<Option<T>>,
    free: Vec<u32>,
}

impl<T> Tags<T> {
    pub(super) fn new() -> Self {
        Self { slots: Vec::new(), free: Vec::new() }
    }
    /// Keeps `value`; its tag.
    pub(super) fn put(&mut self, value: T) -> u32 {
        if let Some(tag) = self.free.pop() {
            self.slots[tag as usize] = Some(value);
            return tag;
        }
        self.slots.push(Some(value));
        (self.slots.len() - 1) as u32
    }
    /// Gives the value back and frees the tag.
    pub(super) fn take(&mut self, tag: u32) -> T {
        let value = self.slots.get_mut(tag as usize).and_then(Option::take);
        self.free.push(tag);
        value.unwrap_or_else(|| panic!("tag {tag} is not in use"))
    }
    /// How many are kept.
    pub(super) fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }
}
