"""Names, addresses and codes are in the text as a whole, in any of its forms."""

import pytest

from forebay.workers.checks.grounding import Source


@pytest.mark.parametrize(
    ("text", "right", "wrong"),
    [
        ("Dear Ms van der Berg,", "Ms van der Berg", "van den Berg"),
        ("Jean-Baptiste de La Salle", "Jean Baptiste de La Salle", "Jean-Baptiste de La Tour"),
        ("Doña María del Carmen Núñez", "Maria del Carmen Nunez", "María del Pilar Núñez"),
        ("Braun & Sons, Leeds", "Braun and Sons", "Braun and Daughters"),
        ("s.oconnor@example.ie", "s.oconnor@example.ie", "s.oconnor@example.com"),
        ("see example.org/help", "https://example.org/help", "https://example.com/help"),
        ("flight TP 1355, 20 kg", "TP1355", "TP 1335"),
        ("part 88-B, due in Q2 2025", "2025-Q2", "88-D"),
        ("order 20251128-0042", "20251128-0042", "20251128-0024"),
        ("с Ивановой Марией Петровной", "Иванова Мария Петровна", "Иванова Анна Петровна"),  # noqa: RUF001 - Russian
        ("Faktura FV/12/2025 dla Anny Nowak, płatna", "Anna Nowak", "Ewa Nowak"),
        ("Faktura FV/12/2025", "FV/12/2025", "FV/21/2025"),
        ("upgrade PuTTY 0.80 to 0.81", "0.81", "0.82"),
        ("aus der Goethestraße 17a", "Goethestr. 17a", "Goethestr. 71a"),
        ("서울에서 김민준님", "김민준", "김민수"),
        ("Tél. : 01 44 55 66 77", "+33 1 44 55 66 77", "+33 1 44 55 66 78"),
        ("Aucun antécédent, de rien", "antécédent", "diabète"),
        ("12 Mary Pkwy", "Parkway", "Freeway"),
    ],
)
def test_a_name_is_found_in_its_forms_and_another_one_is_not(text, right, wrong):
    assert Source(text).has_text(right)
    assert not Source(text).has_text(wrong)


@pytest.mark.parametrize(
    ("text", "right", "wrong"),
    [
        ("ouvert de 9 h à 19 h 30", "19:30", "18:30"),
        ("alle ore 20 e 15", "20:15", "20:50"),
        ("Start kl. 14.30", "14:30", "14:03"),
        ("dep. Ullapool 1730", "17:30", "13:70"),
        ("11月30日の午後3時に", "15:00", "03:30"),
        ("下午两点半在3号楼", "14:30", "02:15"),
        ("오후 3시 20분", "15:20", "03:50"),
        ("entro il 1° febbraio 2026", "2026-02-01", "2026-02-11"),
        ("delle 17.42 porta 25 minuti di ritardo", "18:07", "18:17"),
        ("3 nights from 6 Nov 2026", "2026-11-09", "2026-11-10"),
        ("um 20 Uhr 15", "20.15", "20.51"),
        ("at 6:45 a.m.", "06:45", "18:45"),
        ("från och med 1/5 2026", "2026-05-01", "2026-06-01"),
        ("dne 1. 5. 2026", "2026-05-01", "2026-06-02"),
        ("quatre-vingts pour cent", "80", "81"),
    ],
)
def test_dates_and_times_are_read_as_countries_write_them(text, right, wrong):
    assert Source(text).has_text(right)
    assert not Source(text).has_text(wrong)
