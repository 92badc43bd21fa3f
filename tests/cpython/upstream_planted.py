"""Tests that go wrong in every way, for the harness to be tested with (test_upstream_harness.py).  Not collected by pytest."""

import asyncio
import asyncio.base_events
import faulthandler
import os
import threading
import time
import unittest


class A_Good(unittest.TestCase):
    def test_on_the_loop(self):
        loop = asyncio.new_event_loop()
        self.assertEqual(loop.run_until_complete(asyncio.sleep(0, 'slept')), 'slept')
        loop.close()

    @unittest.skip('not today')
    def test_skipped(self):
        pass

    @unittest.expectedFailure
    def test_expected_to_fail(self):
        self.fail('as expected')


class B_Bad(unittest.TestCase):
    def test_crash(self):
        faulthandler._sigsegv()

    def test_error(self):
        1 / 0

    def test_exit(self):
        print('the last words')
        os._exit(3)

    def test_fail(self):
        self.fail('as planted')

    def test_hang(self):
        time.sleep(600)

    def test_leaves_a_thread(self):
        threading.Thread(target=time.sleep, args=(600,)).start()
        self.fail('with a thread left')

    def test_subtest(self):
        for number in (1, 2):
            with self.subTest(number=number):
                self.assertEqual(number, 2)

    def test_unexpected(self):
        pass

    test_unexpected = unittest.expectedFailure(test_unexpected)


class C_Fixture(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        raise OSError('no room')

    def test_one(self):
        pass

    def test_two(self):
        pass


@unittest.skip('the whole class')
class D_Skipped(unittest.TestCase):
    def test_one(self):
        pass


class E_Unwired(unittest.TestCase):
    def test_runs_on_another_loop(self):
        asyncio.base_events.BaseEventLoop().close()


class F_Last(unittest.TestCase):
    def test_still_runs(self):
        pass
