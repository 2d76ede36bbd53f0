/* Divides work among threads with OpenMP, one part each; without OpenMP, or with one thread, it is a plain call. */
#include "bits.h"

void bits_in_parallel(int threads, size_t jobs, void (*body)(void *context, size_t begin, size_t end), void *context)
{
    const size_t parts = threads < 1 ? 1 : (size_t)threads < jobs ? (size_t)threads : jobs;
    if (parts <= 1) {
        if (jobs)
            body(context, 0, jobs);
        return;
    }
#ifdef _OPENMP
#pragma omp parallel for num_threads((int)parts) schedule(static, 1)
#endif
    for (size_t part = 0; part < parts; part++)
        body(context, jobs * part / parts, jobs * (part + 1) / parts);
}
