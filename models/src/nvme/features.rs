//! Features (NVM Express 1.4, 5.21): what the host can set, and what it reads back. None is kept over a reset.

use super::layout::{FeatureId, Status, Submission};

/// The composite temperature; it never changes.
pub(super) const TEMPERATURE_KELVIN: u16 = 273 + 40;
/// What is too warm.
pub(super) const TEMPERATURE_MAX_KELVIN: u16 = 273 + 70;

#[derive(Clone, Debug)]
pub(super) struct Features {
    arbitration: u32,
    over_kelvin: u16,
    under_kelvin: u16,
    error_recovery: u32,
    write_cache: bool,
    /// Number of Queues: I/O queues of each kind, less one.
    queues: u16,
    coalescing: u32,
    /// Vectors with coalescing off, a bit each.
    uncoalesced: Vec<bool>,
    write_atomicity: u32,
    async_events: u32,
}

/// Threshold select of the temperature threshold: dword 11, bits 21:20.
fn is_under(cdw11: u32) -> Result<bool, Status> {
    match cdw11 >> 20 & 3 {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(Status::INVALID_FIELD),
    }
}

impl Features {
    /// As after a reset, with `queues` I/O queues of each kind and `vectors` interrupt vectors.
    pub(super) fn new(queues: u16, vectors: u16) -> Self {
        Self {
            arbitration: 0b111,
            over_kelvin: TEMPERATURE_MAX_KELVIN,
            under_kelvin: 0,
            error_recovery: 0,
            write_cache: true,
            queues: queues - 1,
            coalescing: 0,
            uncoalesced: vec![false; usize::from(vectors)],
            write_atomicity: 0,
            async_events: 0,
        }
    }
    pub(super) fn write_cache(&self) -> bool {
        self.write_cache
    }
    /// Whether the temperature is beyond a threshold.
    pub(super) fn temperature_warning(&self) -> bool {
        !(self.under_kelvin + 1..self.over_kelvin).contains(&TEMPERATURE_KELVIN)
    }
    /// Whether the host wants to hear of critical warnings about the temperature.
    pub(super) fn tells_temperature(&self) -> bool {
        self.async_events & 1 << 1 != 0
    }

    /// The value of a feature now; `cdw11` selects among several.
    ///
    /// # Errors
    /// Invalid Field.
    pub(super) fn get(&self, feature: FeatureId, cdw11: u32) -> Result<u32, Status> {
        Ok(match feature {
            FeatureId::ARBITRATION => self.arbitration,
            FeatureId::POWER_MANAGEMENT => 0,
            FeatureId::TEMPERATURE_THRESHOLD => {
                // Only the composite temperature has thresholds.
                if cdw11 >> 16 & 0xf != 0 {
                    return Err(Status::INVALID_FIELD);
                }
                u32::from(if is_under(cdw11)? { self.under_kelvin } else { self.over_kelvin })
            }
            FeatureId::ERROR_RECOVERY => self.error_recovery,
            FeatureId::VOLATILE_WRITE_CACHE => self.write_cache.into(),
            FeatureId::NUMBER_OF_QUEUES => u32::from(self.queues) | u32::from(self.queues) << 16,
            FeatureId::INTERRUPT_COALESCING => self.coalescing,
            FeatureId::INTERRUPT_VECTOR => {
                let off = self.uncoalesced.get(cdw11 as usize & 0xffff).ok_or(Status::INVALID_FIELD)?;
                cdw11 & 0xffff | u32::from(*off) << 16
            }
            FeatureId::WRITE_ATOMICITY => self.write_atomicity,
            FeatureId::ASYNC_EVENT_CONFIGURATION => self.async_events,
            _ => return Err(Status::INVALID_FIELD),
        })
    }

    /// Changes a feature; returns dword 0 of the completion.
    ///
    /// # Errors
    /// Invalid Field; Feature Identifier Not Saveable; Command Sequence Error, as the number of queues cannot be
    /// negotiated while there are any (`queues_exist`).
    pub(super) fn set(&mut self, command: &Submission, queues_exist: bool) -> Result<u32, Status> {
        let feature = FeatureId(command.fid() as u8);
        let value = command.cdw11() as u32;
        // Also refuses what does not exist.
        self.get(feature, value & 0x003f_ffff)?;
        if command.sv() {
            return Err(Status::FEATURE_NOT_SAVEABLE);
        }
        match feature {
            FeatureId::ARBITRATION => self.arbitration = value,
            FeatureId::POWER_MANAGEMENT if value & 0x1f != 0 => return Err(Status::INVALID_FIELD),
            FeatureId::TEMPERATURE_THRESHOLD => {
                let kelvin = value as u16;
                if is_under(value)? {
                    self.under_kelvin = kelvin.min(u16::MAX - 1);
                } else {
                    self.over_kelvin = kelvin;
                }
            }
            // Deallocated blocks are never reported as errors (DULBE).
            FeatureId::ERROR_RECOVERY if value & 1 << 16 != 0 => return Err(Status::INVALID_FIELD),
            FeatureId::ERROR_RECOVERY => self.error_recovery = value & 0xffff,
            FeatureId::VOLATILE_WRITE_CACHE => self.write_cache = value & 1 != 0,
            FeatureId::NUMBER_OF_QUEUES => {
                if value & 0xffff == 0xffff || value >> 16 == 0xffff {
                    return Err(Status::INVALID_FIELD);
                }
                if queues_exist {
                    return Err(Status::SEQUENCE_ERROR);
                }
                return self.get(feature, 0);
            }
            FeatureId::INTERRUPT_COALESCING => self.coalescing = value & 0xffff,
            FeatureId::INTERRUPT_VECTOR => {
                self.uncoalesced[value as usize & 0xffff] = value & 1 << 16 != 0;
            }
            FeatureId::WRITE_ATOMICITY => self.write_atomicity = value & 1,
            FeatureId::ASYNC_EVENT_CONFIGURATION => self.async_events = value & 0xff,
            _ => {}
        }
        Ok(0)
    }
}

/// Get Features with SEL = 3: what can be done with a feature (changeable\[2\], per namespace\[1\], saveable\[0\]).
pub(super) fn capabilities(feature: FeatureId) -> u32 {
    u32::from(feature != FeatureId::POWER_MANAGEMENT) << 2
}
