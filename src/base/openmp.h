// OpenMP on hosts where other programs run too.
#pragma once

namespace trireme {

// libgomp's threads spin before they sleep, 300,000 turns (some ten milliseconds) by default. Where
// other programs want the cores, a thread that spins takes the time of the one that it waits for.
// This makes it 3,000 turns, which cost a model of 4 million parameters 1 % where it is alone, and
// larger ones nothing; beside a busy program on each core it trains at 3.7 times the speed
// (bench/shared.py).
//
// It is for .preinit_array: libgomp reads GOMP_SPINCOUNT before main, and libc has no environment
// that could be changed before that, so the program starts once more, as the same process. Nothing
// happens where the user has decided: OMP_WAIT_POLICY, GOMP_SPINCOUNT, or OMP_NUM_THREADS=1, with
// which no thread waits.
void shorten_openmp_spins(int argc, char** argv, char** envp);

}  // namespace trireme
