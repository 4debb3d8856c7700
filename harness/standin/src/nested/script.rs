//! The scripts that host and guests run.

use std::fmt::Write as _;

use super::guest::Guest;
use crate::machine::Machine;
use crate::platform::{Kind, Unfit};

/// The host's functions, and where they are put.
pub const HOST: (&str, &str) = ("/run/nested/host", include_str!("../../nested/host"));
/// The guest's script, and where it is put.
pub const GUEST: (&str, &str) = ("/run/guest", include_str!("../../nested/guest"));

/// What is to be done in a nested run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// The guests; they run side by side.
    pub guests: Vec<Guest>,
    /// MiB that are written to each disk and compared.
    pub mib: u32,
    /// How often each guest's QEMU is started.
    pub lives: u32,
    /// How often a guest boots in each of these lives.
    pub boots: u32,
    /// Words for the guests' kernel command line.
    pub append: String,
}

impl Plan {
    /// Checks that QEMU could be asked for it.
    ///
    /// # Errors
    /// There are no guests, or one that cannot be.
    pub fn check(&self, machine: &Machine) -> Result<(), Unfit> {
        if self.guests.is_empty() {
            return Err(Unfit::new(
                "there is no [vm...] in it; a nested run needs at least one guest".into(),
            ));
        }
        self.guests.iter().try_for_each(Guest::check)?;
        let mut owners = vec![None; machine.platform.endpoints.len()];
        for guest in &self.guests {
            for &endpoint in guest.vsmmus.iter().flat_map(|v| &v.endpoints) {
                if let Some(other) = owners[endpoint].replace(&guest.name) {
                    return Err(Unfit::new(format!(
                        "`{}` belongs to `{other}` and to `{}`; a device can be passed to one guest",
                        machine.platform.endpoints[endpoint].name, guest.name
                    )));
                }
            }
        }
        Ok(())
    }

    /// The host's script. `initrd` is where the guests' initial RAM file system is put.
    pub fn script(&self, machine: &Machine, initrd: &str) -> String {
        let mut out = format!("#!/bin/busybox sh\n. {}\nbegin || exit 1\n", HOST.0);
        let mut line = |text: std::fmt::Arguments<'_>| writeln!(out, "{text}").expect("a string takes it");
        let taken: Vec<usize> =
            self.guests.iter().flat_map(|g| &g.vsmmus).flat_map(|v| v.endpoints.clone()).collect();
        let places: Vec<String> = machine.layout.endpoints().map(|(bdf, _)| format!("0000:{bdf}")).collect();
        for &endpoint in &taken {
            line(format_args!("take {}", places[endpoint]));
        }
        for (i, endpoint) in machine.platform.endpoints.iter().enumerate() {
            if endpoint.kind == Kind::Nvme && !taken.contains(&i) {
                line(format_args!("own {} {} & own=\"$own $!\"", places[i], self.mib.max(1)));
            }
        }
        for guest in &self.guests {
            let words = self.words(guest, machine, initrd);
            let words: Vec<String> = words.iter().map(|word| quoted(word)).collect();
            let (name, lives, boots) = (&guest.name, self.lives, self.boots);
            line(format_args!("guest {name} {lives} {boots} {} & guests=\"$guests $!\"", words.join(" ")));
        }
        line(format_args!("wait $guests\n: >/tmp/over\nwait $own"));
        for &endpoint in &taken {
            line(format_args!("give_back {}", places[endpoint]));
        }
        line(format_args!("say over"));
        out
    }

    fn words(&self, guest: &Guest, machine: &Machine, initrd: &str) -> Vec<String> {
        let mut words = guest.arguments(machine);
        let append = format!("console=ttyAMA0 quiet panic=-1 k.run={} k.mib={}", GUEST.0, self.mib);
        for (option, value) in [
            ("-bios", "QEMU_EFI.fd"),
            ("-kernel", "/host/l2/Image"),
            ("-initrd", initrd),
            ("-append", format!("{append} {}", self.append).trim_end()),
            ("-serial", "stdio"),
            ("-monitor", "none"),
        ] {
            words.extend([option.to_owned(), value.to_owned()]);
        }
        words.extend(["-nodefaults", "-nographic"].map(str::to_owned));
        if self.boots == 1 {
            words.push("-no-reboot".to_owned());
        }
        words
    }
}

/// A word as a shell takes it unchanged.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_=,.:/+%@".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod test {
    use expect_test::expect;

    use super::*;
    use crate::machine::Size;

    #[test]
    fn a_whole_plan() {
        let text = "title = \"x\"\n[psmmu.smmu]\ncount = 2\ncmdqv = true\n[endpoint.nvme]\ncount = 3\nkind = \"nvme\"\n\
                    psmmu = [\"smmu0\", \"smmu1\"]\nats = true\n[vm.vm0]\nvcpus = 2\nmemory = \"256 MiB\"\n\
                    [vsmmu.vs0]\nvm = \"vm0\"\npolicy = \"passthrough\"\ndevices = [\"nvme0\"]\n\
                    [vsmmu.vs1]\nvm = \"vm0\"\ndevices = [\"nvme1\"]\n";
        let size = Size { cpus: 2, memory_bytes: 1 << 30, virtualization: true };
        let machine = Machine::of_text("x.toml", text, size).unwrap();
        let guests = machine.guests.clone();
        let plan = Plan { guests, mib: 8, lives: 1, boots: 1, append: String::new() };
        plan.check(&machine).unwrap();
        let script = plan.script(&machine, "/initrd").replace(" -", "\n  -");
        expect![[r##"
            #!/bin/busybox sh
            . /run/nested/host
            begin || exit 1
            take 0000:00:02.0
            take 0000:00:03.0
            own 0000:00:04.0 8 & own="$own $!"
            guest vm0 1 1
              -machine virt,gic-version=host
              -accel kvm
              -cpu host
              -smp 2
              -m 256M
              -object iommufd,id=iommufd0
              -device pxb-pcie,id=vs0.bus,bus_nr=16,bus=pcie.0
              -device arm-smmuv3,id=vs0,primary-bus=vs0.bus,accel=on,cmdqv=on,ats=on
              -device pcie-root-port,id=vs0.port1,bus=vs0.bus,chassis=1,slot=1,io-reserve=0
              -device vfio-pci,host=0000:00:02.0,iommufd=iommufd0,bus=vs0.port1
              -device pxb-pcie,id=vs1.bus,bus_nr=32,bus=pcie.0
              -device arm-smmuv3,id=vs1,primary-bus=vs1.bus,accel=on,cmdqv=off,ats=on
              -device pcie-root-port,id=vs1.port2,bus=vs1.bus,chassis=2,slot=2,io-reserve=0
              -device vfio-pci,host=0000:00:03.0,iommufd=iommufd0,bus=vs1.port2
              -bios QEMU_EFI.fd
              -kernel /host/l2/Image
              -initrd /initrd
              -append 'console=ttyAMA0 quiet panic=-1 k.run=/run/guest k.mib=8'
              -serial stdio
              -monitor none
              -nodefaults
              -nographic
              -no-reboot & guests="$guests $!"
            wait $guests
            : >/tmp/over
            wait $own
            give_back 0000:00:02.0
            give_back 0000:00:03.0
            say over
        "##]]
        .assert_eq(&script);
    }

    #[test]
    fn words_survive_a_shell() {
        for (word, expected) in [
            ("accel=on,cmdqv=on", "accel=on,cmdqv=on"),
            ("a b", "'a b'"),
            ("", "''"),
            ("it's", r"'it'\''s'"),
            ("$x*;", "'$x*;'"),
        ] {
            assert_eq!(quoted(word), expected);
        }
    }
}
