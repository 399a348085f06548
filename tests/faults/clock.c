/* Tells a program the time of day SKEW_MS milliseconds beside the real one; what measures spans of time stays as it is.

   libfaketime also changes how long a program sleeps, which Python's time.sleep does not survive. */

#define _GNU_SOURCE
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static long long skew(void) {
  static int known;
  static long long milliseconds;
  if (!known) {
    const char *told = getenv("SKEW_MS");
    milliseconds = told ? atoll(told) : 0;
    known = 1;
  }
  return milliseconds;
}

int clock_gettime(clockid_t clock, struct timespec *at) {
  if (syscall(SYS_clock_gettime, clock, at)) return -1;
  if (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE) {
    long long nanoseconds = at->tv_sec * 1000000000LL + at->tv_nsec + skew() * 1000000LL;
    at->tv_sec = nanoseconds / 1000000000LL;
    at->tv_nsec = nanoseconds % 1000000000LL;
  }
  return 0;
}

int gettimeofday(struct timeval *at, void *zone) {
  struct timespec now;
  (void)zone;
  clock_gettime(CLOCK_REALTIME, &now);
  at->tv_sec = now.tv_sec;
  at->tv_usec = now.tv_nsec / 1000;
  return 0;
}

time_t time(time_t *at) {
  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  if (at) *at = now.tv_sec;
  return now.tv_sec;
}
