/* Answers the CPUID instructions of onnxruntime, which without_vnni.py has replaced by UD2, as a CPU with AVX2 alone
   would: without AVX-512, VNNI and AMX. Loaded into every process by /etc/ld.so.preload. */
#define _GNU_SOURCE
#include <cpuid.h>
#include <dlfcn.h>
#include <signal.h>
#include <string.h>
#include <ucontext.h>

#define BIT(n) (1u << (n))

static int (*set_action)(int, const struct sigaction *, struct sigaction *);

static void answer(int signal_number, siginfo_t *info, void *context) {
  greg_t *registers = ((ucontext_t *)context)->uc_mcontext.gregs;
  const unsigned char *instruction = (const unsigned char *)registers[REG_RIP];
  if (instruction[0] != 0x0f || instruction[1] != 0x0b) {
    signal(signal_number, SIG_DFL); /* a real fault: it happens again, and ends the process */
    return;
  }
  unsigned a, b, c, d;
  const unsigned leaf = registers[REG_RAX], sub = registers[REG_RCX];
  __cpuid_count(leaf, sub, a, b, c, d);
  if (leaf == 7 && sub == 0) {
    b &= ~(BIT(16) | BIT(17) | BIT(21) | BIT(26) | BIT(27) | BIT(28) | BIT(30) | BIT(31)); /* AVX-512 F DQ IFMA ... */
    c &= ~(BIT(1) | BIT(6) | BIT(11) | BIT(12) | BIT(14));                                 /* AVX-512 VBMI VNNI ... */
    d &= ~(BIT(2) | BIT(3) | BIT(8) | BIT(22) | BIT(23) | BIT(24) | BIT(25));              /* AVX-512 FP16, AMX */
  } else if (leaf == 7 && sub == 1) {
    a &= ~(BIT(4) | BIT(5) | BIT(21));                     /* AVX-VNNI, AVX-512 BF16, AMX FP16 */
    d &= ~(BIT(4) | BIT(5) | BIT(8) | BIT(10) | BIT(19));  /* AVX-VNNI INT8 and INT16, AMX COMPLEX, AVX10 */
  }
  registers[REG_RAX] = a;
  registers[REG_RBX] = b;
  registers[REG_RCX] = c;
  registers[REG_RDX] = d;
  registers[REG_RIP] += 2;
}

__attribute__((constructor)) static void install(void) {
  set_action = dlsym(RTLD_NEXT, "sigaction");
  struct sigaction action;
  memset(&action, 0, sizeof action);
  action.sa_sigaction = answer;
  action.sa_flags = SA_SIGINFO | SA_NODEFER;
  set_action(SIGILL, &action, 0);
}

/* Python's faulthandler must not take SIGILL away. */
int sigaction(int number, const struct sigaction *action, struct sigaction *old) {
  if (!set_action) set_action = dlsym(RTLD_NEXT, "sigaction");
  if (number != SIGILL || !action) return set_action(number, action, old);
  if (old) memset(old, 0, sizeof *old);
  return 0;
}
