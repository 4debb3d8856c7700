//! From power on to the first command: registers, Identify, number of queues.

use super::super::layout::{Cns, FeatureId, LogId};
use super::*;

/// Every step of Linux's probe, with the fields at the offsets of its structures.
#[test]
fn linux_finds_a_controller_and_its_namespace() {
    let mut driver = Driver::new(Config { serial: "disk 7".into(), ..Config::default() });
    let mut cap = [0; 8];
    driver.controller.read(0, &mut cap);
    let cap = u64::from_le_bytes(cap);
    assert_eq!((cap & 0xffff, cap >> 24 & 0xff, cap >> 32 & 0xf, cap >> 37 & 1), (1023, 20, 0, 1));
    assert_eq!((cap >> 48 & 0xf, cap >> 56), (0, 0), "4 KiB pages, no memory buffers");
    assert_eq!(driver.read32(Registers::VS), 0x1_0400);
    driver.enable();

    let identify = |cns: Cns, nsid: u64| {
        command(AdminOpcode::IDENTIFY.0).with_cns(cns.0.into()).with_nsid(nsid).with_prp1(BUFFER)
    };
    let half = |raw: &[u8], at: usize| u16::from_le_bytes([raw[at], raw[at + 1]]);

    assert_eq!(driver.run(0, identify(Cns::CONTROLLER, 0)), Ok(0));
    let raw = driver.host.bytes(BUFFER, 4096);
    assert_eq!(&raw[4..24], b"disk 7              ");
    assert_eq!(&raw[24..64], format!("{:<40}", "smmulate NVMe").as_bytes());
    assert_eq!((raw[77], raw[111], raw[259], raw[512], raw[513]), (5, 1, 3, 0x66, 0x44));
    assert_eq!((half(&raw, 256), half(&raw, 520), raw[525]), (0, 0x1d, 7), "OACS, ONCS, VWC");
    assert_eq!(raw[516..520], 1_u32.to_le_bytes());
    let name: Vec<u8> = raw[768..1024].iter().copied().take_while(|b| *b != 0).collect();
    let name = String::from_utf8(name).expect("UTF-8");
    let uuid = name.strip_prefix("nqn.2014-08.org.nvmexpress:uuid:").expect("a UUID name");
    assert_eq!(uuid.split('-').map(str::len).collect::<Vec<_>>(), [8, 4, 4, 4, 12], "{uuid}");

    for (cns, nsid) in [(Cns::NAMESPACE, 1), (Cns::ACTIVE_NAMESPACES, 0), (Cns::NAMESPACE_DESCRIPTORS, 1)] {
        driver.host.memory.write(BUFFER, &[0xee; 4096]);
        assert_eq!(driver.run(0, identify(cns, nsid)), Ok(0));
        let raw = driver.host.bytes(BUFFER, 4096);
        match cns {
            Cns::NAMESPACE => {
                for at in [0, 8, 16] {
                    assert_eq!(raw[at..at + 8], (DISK / 512).to_le_bytes());
                }
                assert_eq!((raw[25], raw[26], raw[128..132].to_vec()), (0, 0, vec![0, 0, 9, 0]));
            }
            Cns::ACTIVE_NAMESPACES => assert_eq!(raw[..8], [1, 0, 0, 0, 0, 0, 0, 0]),
            _ => {
                let (mut at, mut found) = (0, Vec::new());
                while raw[at + 1] != 0 {
                    found.push((raw[at], raw[at + 1]));
                    at += 4 + usize::from(raw[at + 1]);
                }
                assert_eq!(found, [(1, 8), (2, 16), (3, 16)]);
                let plain: String = uuid.split('-').collect();
                let hex: String = raw[at - 16..at].iter().map(|b| format!("{b:02x}")).collect();
                assert_eq!(hex, plain);
            }
        }
    }

    let queues = command(AdminOpcode::SET_FEATURES.0).with_fid(FeatureId::NUMBER_OF_QUEUES.0.into());
    assert_eq!(driver.run(0, queues.with_cdw11(0x0003_0003)), Ok(0x003f_003f));
    driver.create(1, 64, 64);
    driver.create(2, 1024, 1024);
    driver.host.interrupts.clear();
    assert_eq!(driver.run(2, io(Opcode::READ, 1)), Ok(0));
    assert_eq!(driver.host.interrupts, [2]);

    // The monitor of temperatures asks for the SMART log and the thresholds.
    let smart = command(AdminOpcode::GET_LOG_PAGE.0).with_lid(LogId::SMART.0.into()).with_numdl(127);
    assert_eq!(driver.run(0, smart.with_nsid(u32::MAX.into()).with_prp1(BUFFER)), Ok(0));
    let raw = driver.host.bytes(BUFFER, 512);
    assert_eq!((raw[0], half(&raw, 1), raw[32], raw[64]), (0, 313, 1, 1));

    // Shutdown, as `nvme_disable_ctrl` does it.
    let cc = CC(driver.read32(Registers::CC).into()).with_shn(1);
    driver.write_register(Registers::CC, cc.bits());
    assert_eq!(driver.status(), CSTS(0).with_rdy(true).with_shst(2));
    driver.put(0, smart);
    driver.ring(0);
    assert_eq!(driver.peek(0), None, "after shutdown");
    driver.enable();
    assert_eq!(driver.run(0, smart.with_prp1(BUFFER)), Ok(0));
}

#[test]
fn two_controllers_have_different_names() {
    let names = ["a", "b", "a"].map(|serial| {
        let config = Config { serial: serial.into(), ..Config::default() };
        (config.uuid(), config.eui64())
    });
    assert!(names[0].0 != names[1].0 && names[0].1 != names[1].1);
    assert_eq!(names[0], names[2]);
}

#[test]
fn what_cannot_be_enabled_is_fatal() {
    let cc = CC(0).with_en(true).with_iosqes(6).with_iocqes(4);
    let (aqa, asq, acq) = (0x001f_001f, ADMIN_SQ, ADMIN_CQ);
    for (name, cc, aqa, asq, acq, works) in [
        ("good", cc, aqa, asq, acq, true),
        ("64 KiB pages", cc.with_mps(4), aqa, asq, acq, true),
        ("128 KiB pages", cc.with_mps(5), aqa, 0x4_0000, 0x8_0000, false),
        ("queue within a page", cc.with_mps(4), aqa, asq + 0x1000, acq, false),
        ("command set", cc.with_css(6), aqa, asq, acq, false),
        ("arbitration", cc.with_ams(1), aqa, asq, acq, false),
        ("submission queue of one", cc, 0x001f_0000, asq, acq, false),
        ("completion queue of one", cc, 0x0000_001f, asq, acq, false),
        ("entry sizes later", cc.with_iosqes(0).with_iocqes(0), aqa, asq, acq, true),
    ] {
        let mut driver = Driver::new(Config::default());
        driver.write_register(Registers::AQA, aqa);
        driver.write_register(Registers::ASQ, asq);
        driver.write_register(Registers::ACQ, acq);
        driver.write_register(Registers::CC, cc.bits());
        assert_eq!((driver.status().rdy(), driver.status().cfs()), (works, !works), "{name}");
        driver.enable();
    }
}

#[test]
fn registers_take_what_they_can() {
    let all = u64::MAX;
    for (register, want) in [
        (Registers::CAP, 0x0010_0020_1401_03ff_u64),
        (Registers::VS, 0x1_0400),
        (Registers::CSTS, 0),
        (Registers::AQA, 0x0fff_0fff),
        (Registers::ASQ, !0xfff),
        (Registers::ACQ, !0xfff),
        (Registers::INTMS, 0xffff_ffff),
    ] {
        let mut driver = Driver::new(Config::default());
        let before = driver.read32(Registers::CAP);
        driver.write_register(register, all);
        let mut raw = [0; 8];
        driver.controller.read(register.offset().into(), &mut raw[..register.desc().bytes as usize]);
        if register == Registers::CAP {
            assert_eq!((u64::from_le_bytes(raw) as u32, before), (want as u32, want as u32));
        } else {
            assert_eq!(u64::from_le_bytes(raw), want, "{register}");
        }
        // Bytes one by one give the same.
        let single: Vec<u8> = (0..8)
            .map(|i| {
                let mut byte = [0];
                driver.controller.read(u64::from(register.offset()) + i, &mut byte);
                byte[0]
            })
            .collect();
        let len = register.desc().bytes as usize;
        assert_eq!(single[..len], raw[..len], "{register}");
    }
}
