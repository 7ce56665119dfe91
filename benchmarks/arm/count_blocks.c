/* A TCG plugin of QEMU's user mode that counts what the guest executes: one inline counter per translation block.
 *
 * The guest writes marks by close(7000000 + k), which fails with EBADF: at each the increase of every counter since the
 * last mark is stored. Between marks 900 and 901 every clock_gettime of CLOCK_REALTIME is one, too: onnxruntime's
 * profiler reads it at the begin and at the end of every node.
 *
 * What other threads than the first execute is left out, unless the argument threads=all is given: onnxruntime has some
 * that wait and wake by the clock, so that their counts are never the same twice.
 *
 * Output (argument out=FILE), little endian:
 *   'T' u32 id, u32 n, n * u32 opcode                                a block, once
 *   'M' u32 clock (0, 1), u32 k, u32 entries, entries * (u32 id, u64 increase)
 */
#include <glib.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <qemu-plugin.h>

QEMU_PLUGIN_EXPORT int qemu_plugin_version = QEMU_PLUGIN_VERSION;

#define MOST_BLOCKS (1u << 19)
#define MOST_INSTRUCTIONS 1024
#define FIRST_MARK 7000000
#define CLOCKS_ON 900
#define CLOCKS_OFF 901
#define AT_EXIT 999
#define SYS_CLOSE 57           /* of aarch64 */
#define SYS_CLOCK_GETTIME 113
#define CLOCK_OF_PROFILER 0    /* CLOCK_REALTIME */
#define FIRST_THREAD 0

typedef struct {
    uint64_t count[MOST_BLOCKS];
} Counts;

typedef struct {
    uint32_t n;
    uint32_t opcodes[];
} Block;

static struct qemu_plugin_scoreboard *score;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static FILE *out;
static Block *blocks[MOST_BLOCKS];
static uint32_t table[2 * MOST_BLOCKS]; /* hash -> number of a block + 1 */
static uint32_t known;
static uint64_t last[MOST_BLOCKS];
static int clocks;
static int all_threads;

static void put32(uint32_t value) { fwrite(&value, 4, 1, out); }
static void put64(uint64_t value) { fwrite(&value, 8, 1, out); }

/* The number of the block of these opcodes, wherever it lies: only what it consists of is counted. */
static uint32_t number_of(const uint32_t *opcodes, uint32_t n)
{
    uint64_t hash = n;
    for (uint32_t i = 0; i < n; i++) hash = (hash ^ opcodes[i]) * 0x9E3779B97F4A7C15ull;
    uint32_t place = (uint32_t)(hash >> 40) % (2 * MOST_BLOCKS);
    for (; table[place]; place = (place + 1) % (2 * MOST_BLOCKS)) {
        const Block *block = blocks[table[place] - 1];
        if (block->n == n && !memcmp(block->opcodes, opcodes, 4ull * n)) return table[place] - 1;
    }
    if (known == MOST_BLOCKS) {
        fprintf(stderr, "count_blocks: more than %u different blocks\n", MOST_BLOCKS);
        abort();
    }
    Block *block = malloc(sizeof(Block) + 4ull * n);
    block->n = n;
    memcpy(block->opcodes, opcodes, 4ull * n);
    blocks[known] = block;
    table[place] = known + 1;
    fputc('T', out);
    put32(known);
    put32(n);
    fwrite(opcodes, 4, n, out);
    return known++;
}

static void on_translation(qemu_plugin_id_t id, struct qemu_plugin_tb *tb)
{
    uint32_t opcodes[MOST_INSTRUCTIONS] = {0};
    size_t n = qemu_plugin_tb_n_insns(tb);
    if (n > MOST_INSTRUCTIONS) abort();
    for (size_t i = 0; i < n; i++) qemu_plugin_insn_data(qemu_plugin_tb_get_insn(tb, i), &opcodes[i], 4);
    pthread_mutex_lock(&lock);
    uint32_t number = number_of(opcodes, n);
    pthread_mutex_unlock(&lock);
    qemu_plugin_u64 entry = {score, offsetof(Counts, count) + 8ull * number};
    qemu_plugin_register_vcpu_tb_exec_inline_per_vcpu(tb, QEMU_PLUGIN_INLINE_ADD_U64, entry, 1);
}

static void mark(uint32_t clock, uint32_t k)
{
    static uint64_t sums[MOST_BLOCKS];
    pthread_mutex_lock(&lock);
    uint32_t entries = 0;
    memset(sums, 0, 8ull * known);
    int threads = all_threads ? qemu_plugin_num_vcpus() : FIRST_THREAD + 1;
    for (int cpu = FIRST_THREAD; cpu < threads; cpu++) {
        const Counts *counts = qemu_plugin_scoreboard_find(score, cpu);
        for (uint32_t i = 0; i < known; i++) sums[i] += counts->count[i];
    }
    for (uint32_t i = 0; i < known; i++) entries += sums[i] != last[i];
    fputc('M', out);
    put32(clock);
    put32(k);
    put32(entries);
    for (uint32_t i = 0; i < known; i++) {
        if (sums[i] == last[i]) continue;
        put32(i);
        put64(sums[i] - last[i]);
        last[i] = sums[i];
    }
    if (!clock) fflush(out);
    pthread_mutex_unlock(&lock);
}

static void on_syscall(qemu_plugin_id_t id, unsigned int cpu, int64_t number, uint64_t a1, uint64_t a2, uint64_t a3,
                       uint64_t a4, uint64_t a5, uint64_t a6, uint64_t a7, uint64_t a8)
{
    if (cpu != FIRST_THREAD) return;
    if (number == SYS_CLOSE && (uint32_t)a1 - FIRST_MARK < AT_EXIT) {
        uint32_t k = (uint32_t)a1 - FIRST_MARK;
        if (k == CLOCKS_ON) clocks = 1;
        if (k == CLOCKS_OFF) clocks = 0;
        mark(0, k);
    } else if (clocks && number == SYS_CLOCK_GETTIME && a1 == CLOCK_OF_PROFILER) {
        mark(1, 0);
    }
}

static void on_exit_(qemu_plugin_id_t id, void *nothing)
{
    mark(0, AT_EXIT);
    fclose(out);
}

QEMU_PLUGIN_EXPORT int qemu_plugin_install(qemu_plugin_id_t id, const qemu_info_t *info, int argc, char **argv)
{
    for (int i = 0; i < argc; i++) {
        if (!strncmp(argv[i], "out=", 4)) out = fopen(argv[i] + 4, "wb");
        if (!strcmp(argv[i], "threads=all")) all_threads = 1;
    }
    if (!out) {
        fprintf(stderr, "count_blocks: out=FILE is missing or cannot be written\n");
        return -1;
    }
    setvbuf(out, NULL, _IOFBF, 1 << 20);
    score = qemu_plugin_scoreboard_new(sizeof(Counts));
    qemu_plugin_register_vcpu_tb_trans_cb(id, on_translation);
    qemu_plugin_register_vcpu_syscall_cb(id, on_syscall);
    qemu_plugin_register_atexit_cb(id, on_exit_, NULL);
    return 0;
}
