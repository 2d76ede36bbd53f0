/* Vector instructions of each kind to measure the throughput of: the upper bound of the kernels' own speed. */
#include "bits.h"

#if defined(__x86_64__)

/* Twelve independent instructions; their operands are whatever the registers hold. */
#define TWELVE(one)                                                                                                          \
    one("0") one("1") one("2") one("3") one("4") one("5") one("6") one("7") one("8") one("9") one("10") one("11")
#define XOR(r) "vpxord %%zmm12, %%zmm13, %%zmm" r "\n\t"
#define COUNT(r) "vpopcntd %%zmm12, %%zmm" r "\n\t"
#define ADD(r) "vpaddd %%zmm12, %%zmm" r ", %%zmm" r "\n\t"
#define REPEAT(what)                                                                                                         \
    for (size_t i = 0; i < n; i += 12)                                                                                       \
    __asm__ volatile(TWELVE(what)::: "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9",          \
                     "xmm10", "xmm11", "xmm12", "xmm13")

int bits_port_instructions(int kind, size_t n)
{
    __builtin_cpu_init();
    if (!__builtin_cpu_supports("avx512f") || !__builtin_cpu_supports("avx512vpopcntdq"))
        return -1;
    switch (kind) {
    case 0: REPEAT(XOR); break;
    case 1: REPEAT(COUNT); break;
    default: REPEAT(ADD);
    }
    __asm__ volatile("vzeroupper");
    return 0;
}

#else

int bits_port_instructions(int kind, size_t n) { return (void)kind, (void)n, -1; }

#endif
