// events TYPE CPU NAME=CONFIG[:CONFIG1]... -- PROGRAM [ARGUMENT]...
//
// Counts events of a PMU while a program runs, as perf stat does with a group of events: perf_event_open(2) for each NAME on a CPU,
// then the program, then NAME and count, a line each. Numbers are decimal; /bin/count is for people.
// Exit: the program's status; 2 if the arguments are wrong, 3 if a counter could not be had or did not count all the time.
//
// x19 first NAME   x20 environment   x21 "--"   x22 CPU   x23 leader of the group, its file descriptor   x24 status   x25 NAME
// x26 the stack before descriptors were pushed, 16 bytes each   x27 one of these   x28 room for structures, ATTR_BYTES

.set SYS_read, 63
.set SYS_write, 64
.set SYS_exit, 93
.set SYS_clone, 220
.set SYS_execve, 221
.set SYS_perf_event_open, 241
.set SYS_wait4, 260
.set SIGCHLD, 17
.set STDOUT, 1
.set STDERR, 2

// struct perf_event_attr of the first version
.set ATTR_TYPE, 0
.set ATTR_SIZE, 4
.set ATTR_CONFIG, 8
.set ATTR_READ_FORMAT, 32
.set ATTR_CONFIG1, 56
.set ATTR_BYTES, 64
// PERF_FORMAT_TOTAL_TIME_ENABLED and _RUNNING: what is read is count, time wanted, time counted
.set TIMES, 3

.macro call number
    mov x8, #\number
    svc #0
.endm

// Ends with a message.
.macro give_up status, text
    adr x1, \text
    mov x2, #\text\()_end - \text
    mov x0, #STDERR
    call SYS_write
    mov x0, #\status
    call SYS_exit
.endm

.globl _start
_start:
    ldr x0, [sp]
    cmp x0, #6
    b.lt usage
    add x19, sp, #4 * 8
    add x20, sp, x0, lsl #3
    add x20, x20, #2 * 8
    mov x23, #-1

    sub sp, sp, #ATTR_BYTES
    mov x28, sp
    mov x1, #0
1:  str xzr, [x28, x1]
    add x1, x1, #8
    cmp x1, #ATTR_BYTES
    b.ne 1b
    ldr x0, [x19, #-2 * 8]
    bl number
    str w0, [x28, #ATTR_TYPE]
    mov w0, #ATTR_BYTES
    str w0, [x28, #ATTR_SIZE]
    mov w0, #TIMES
    str x0, [x28, #ATTR_READ_FORMAT]
    ldr x0, [x19, #-8]
    bl number
    mov x22, x0
    mov x26, sp

    mov x21, x19
open:
    ldr x1, [x21]
    cbz x1, usage
    ldrh w0, [x1]
    mov w2, #0x2d2d
    cmp w0, w2
    b.eq run
    mov x0, x1
1:  ldrb w1, [x0], #1
    cbz w1, usage
    cmp w1, #'='
    b.ne 1b
    bl number
    str x0, [x28, #ATTR_CONFIG]
    mov x0, #0
    ldrb w2, [x1], #1
    cmp w2, #':'
    b.ne 2f
    mov x0, x1
    bl number
2:  str x0, [x28, #ATTR_CONFIG1]
    mov x0, x28
    mov x1, #-1
    mov x2, x22
    mov x3, x23
    mov x4, #0
    call SYS_perf_event_open
    tbnz x0, #63, refused
    str x0, [sp, #-16]!
    cmn x23, #1
    csel x23, x0, x23, eq
    add x21, x21, #8
    b open

run:
    cmp x21, x19
    b.eq usage
    mov x0, #SIGCHLD
    mov x1, #0
    mov x2, #0
    mov x3, #0
    mov x4, #0
    call SYS_clone
    cbz x0, child
    mov x1, x28
    mov x2, #0
    mov x3, #0
    call SYS_wait4
    ldr w0, [x28]
    ubfx w24, w0, #8, #8
    ands w0, w0, #0x7f
    add w0, w0, #128
    csel w24, w24, w0, eq

    mov x25, x19
    mov x27, x26
report:
    ldr x0, [x27, #-16]!
    mov x1, x28
    mov x2, #3 * 8
    call SYS_read
    // The name, up to its =.
    ldr x1, [x25]
    mov x2, #0
1:  ldrb w0, [x1, x2]
    cmp w0, #'='
    b.eq 2f
    add x2, x2, #1
    b 1b
2:  mov x0, #STDOUT
    call SYS_write
    // A blank, the count and a newline, from behind.
    ldp x3, x4, [x28]
    ldr x5, [x28, #2 * 8]
    cmp x4, x5
    mov w0, #3
    csel w24, w24, w0, eq
    add x1, x28, #ATTR_BYTES
    mov w0, #'\n'
    strb w0, [x1, #-1]!
    mov x6, #10
3:  udiv x7, x3, x6
    msub x0, x7, x6, x3
    add w0, w0, #'0'
    strb w0, [x1, #-1]!
    mov x3, x7
    cbnz x3, 3b
    mov w0, #' '
    strb w0, [x1, #-1]!
    add x2, x28, #ATTR_BYTES
    sub x2, x2, x1
    mov x0, #STDOUT
    call SYS_write
    add x25, x25, #8
    cmp x25, x21
    b.ne report
    mov w0, w24
    call SYS_exit

child:
    ldr x0, [x21, #8]!
    cbz x0, usage
    mov x1, x21
    mov x2, x20
    call SYS_execve
    give_up 127, not_run

usage:
    give_up 2, how

refused:
    give_up 3, no_counter

// x0: the decimal number at x0. x1: what follows it.
number:
    mov x1, x0
    mov x0, #0
    mov x2, #10
1:  ldrb w3, [x1]
    sub w3, w3, #'0'
    cmp w3, #9
    b.hi 2f
    madd x0, x0, x2, x3
    add x1, x1, #1
    b 1b
2:  ret

how: .ascii "usage: events TYPE CPU NAME=CONFIG[:CONFIG1]... -- PROGRAM [ARGUMENT]...\n"
how_end:
not_run: .ascii "events: the program cannot be started\n"
not_run_end:
no_counter: .ascii "events: a counter is refused\n"
no_counter_end:
