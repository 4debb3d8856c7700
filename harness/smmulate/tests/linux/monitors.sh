# What monitors.rs does in its machine: disks in slots 2 and 3, a DMA tester in slot 4. Sourced.
# shellcheck shell=dash
tester=/sys/bus/pci/devices/0000:00:04.0

# Prints the block device of the disk in a slot, once it is there.
disk() {
  until [ -b "$(disk_of "$1")" ]; do sleep 0.1; done
  disk_of "$1"
}
disk_of() { ls -d "/sys/bus/pci/devices/0000:00:$1.0"/nvme/nvme*/nvme*n1 2>/dev/null | sed 's|.*/|/dev/|'; }

# Accesses a register of the tester.
register() { busybox devmem "$(printf '0x%x' $(($(head -1 $tester/resource | cut -d' ' -f1) + $1)))" 32 "$2"; }

# Lets the tester do a DMA that its SMMU refuses.
refused() {
  register 8 0xdead0000; register 12 0; register 16 8; register 4 1
  [ "$(register 28)" = 0x00000001 ] && echo refused
}

# Loads the disks' driver, moves data, and lets both disks go: after that nothing moves.
work() {
  insmod /modules/nvme.ko
  first=$(disk 02) second=$(disk 03)
  for _ in 1 2 3; do refused; done &
  dd if="$second" of=/dev/null bs=64k count=40 iflag=direct 2>/dev/null &
  dd if="$first" of=/dev/null bs=64k count=16 iflag=direct 2>/dev/null
  dd if=/dev/zero of="$first" bs=64k count=16 oflag=direct 2>/dev/null
  wait
  for slot in 02 03; do echo 0000:00:$slot.0 >/sys/bus/pci/drivers/nvme/unbind; done
}

# Prints how many interrupts a group's line has had. Groups are 0 to 3, in the order of their addresses.
interrupts() {
  grep smmuv3-pmu /proc/interrupts | sed -n "$(($1 + 1))p" |
    awk '{ for (i = 2; $i ~ /^[0-9]+$/; i++) sum += $i; print sum }'
}

# Gives the first counter of a group its last value: thousands of millions of events take too long.
at_its_end() { busybox devmem "$(printf '0x%x' $((0x30a10000 + ($1 / 2) * 0x1000000 + ($1 % 2) * 0x20000)))" 32 0xffffffff; }

# Does something until a group's line has had so many interrupts.
until_interrupts() {
  group=$1 wanted=$2
  shift 2
  "$@"
  for _ in $(seq 100); do [ "$(interrupts "$group")" -ge "$wanted" ] && return; sleep 0.1; done
}

# The driver's messages would come between our own.
dmesg -n 1
echo 1 >$tester/enable
printf '\006' | dd of=$tester/config bs=1 seek=4 conv=notrunc 2>/dev/null
