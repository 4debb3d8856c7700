//! The object table: identifiers, long- and short-term references, destruction.

use std::collections::BTreeMap;

use super::kinds::Kind;
use crate::errno::Errno;

/// Identifier of an object in a context. Never zero for a live object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Id(pub u32);

impl std::fmt::Display for Id {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// An object and the references to it.
#[derive(Debug)]
pub(super) struct Object {
    /// Long-term references, the table's own included; ioctls in flight count too.
    pub(super) users: u32,
    /// What it is.
    pub(super) kind: Kind,
}

#[derive(Debug)]
enum Slot {
    /// An allocation in flight, or a tombstone: the number is taken, lookups find nothing.
    Reserved,
    Object(Box<Object>),
}

/// All objects of a context. Allocation takes the lowest free number.
#[derive(Debug, Default)]
pub(super) struct Table {
    slots: BTreeMap<u32, Slot>,
}

impl Table {
    /// Takes the lowest free number; nothing can be found there yet.
    pub(super) fn reserve(&mut self) -> Id {
        let mut free = 1;
        for &taken in self.slots.keys() {
            if taken != free {
                break;
            }
            free += 1;
        }
        self.slots.insert(free, Slot::Reserved);
        Id(free)
    }
    /// Publishes an object at a reserved number.
    pub(super) fn publish(&mut self, id: Id, kind: Kind) {
        let slot = self.slots.get_mut(&id.0).expect("the number was reserved");
        assert!(matches!(slot, Slot::Reserved), "a number is published once");
        *slot = Slot::Object(Box::new(Object { users: 1, kind }));
    }
    /// Reserves and publishes at once.
    pub(super) fn insert(&mut self, kind: Kind) -> Id {
        let id = self.reserve();
        self.publish(id, kind);
        id
    }
    /// Gives up a reserved number.
    pub(super) fn abandon(&mut self, id: Id) {
        let slot = self.slots.remove(&id.0);
        assert!(matches!(slot, Some(Slot::Reserved)), "only a reserved number is abandoned");
    }
    /// The object, whatever its kind.
    pub(super) fn get(&self, id: Id) -> Option<&Object> {
        match self.slots.get(&id.0) {
            Some(Slot::Object(object)) => Some(object),
            _ => None,
        }
    }
    /// The object, whatever its kind.
    pub(super) fn get_mut(&mut self, id: Id) -> Option<&mut Object> {
        match self.slots.get_mut(&id.0) {
            Some(Slot::Object(object)) => Some(object),
            _ => None,
        }
    }
    /// Adds a reference.
    pub(super) fn hold(&mut self, id: Id) {
        self.get_mut(id).expect("a held object exists").users += 1;
    }
    /// Drops a reference.
    pub(super) fn release(&mut self, id: Id) {
        let users = &mut self.get_mut(id).expect("a held object exists").users;
        assert!(*users > 1, "the table's own reference is dropped by removal only");
        *users -= 1;
    }
    /// Takes the object out when only the table refers to it.
    ///
    /// # Errors
    /// ENOENT when there is none, EBUSY when something refers to it.
    pub(super) fn remove(&mut self, id: Id) -> Result<Kind, Errno> {
        match self.slots.get(&id.0) {
            Some(Slot::Object(object)) if object.users == 1 => {}
            Some(Slot::Object(_)) => return Err(Errno::EBUSY),
            _ => return Err(Errno::ENOENT),
        }
        match self.slots.remove(&id.0) {
            Some(Slot::Object(object)) => Ok(object.kind),
            _ => unreachable!("looked at above"),
        }
    }
    /// Takes the object out and leaves a tombstone: the number is never used again.
    pub(super) fn bury(&mut self, id: Id) -> Option<Kind> {
        match self.slots.insert(id.0, Slot::Reserved) {
            Some(Slot::Object(object)) => Some(object.kind),
            _ => None,
        }
    }
    /// Published objects in ascending order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (Id, &Object)> {
        self.slots.iter().filter_map(|(id, slot)| match slot {
            Slot::Object(object) => Some((Id(*id), &**object)),
            Slot::Reserved => None,
        })
    }
}

#[cfg(test)]
mod test {
    use super::*;
    use crate::iommufd::kinds::Ioas;

    #[test]
    fn the_lowest_free_number_is_reused() {
        let mut table = Table::default();
        let ids: Vec<_> = (0..3).map(|_| table.insert(Kind::Ioas(Ioas::default()))).collect();
        assert_eq!(ids, [Id(1), Id(2), Id(3)]);
        table.remove(Id(2)).unwrap();
        assert_eq!(table.insert(Kind::Ioas(Ioas::default())), Id(2));
    }

    #[test]
    fn a_tombstone_is_neither_found_nor_reused() {
        let mut table = Table::default();
        let id = table.insert(Kind::Ioas(Ioas::default()));
        assert!(table.bury(id).is_some());
        assert_eq!(table.remove(id).err(), Some(Errno::ENOENT));
        assert_eq!(table.insert(Kind::Ioas(Ioas::default())), Id(2));
    }
}
