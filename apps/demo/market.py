"""Suppliers, their articles, customers and the cross-reference of the simulated company."""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal
from random import Random
from typing import NamedTuple

PIECE = Decimal(1)
GRAM = Decimal("0.001")

_PLACES = (
    "Ningbo", "Dongguan", "Suzhou", "Xiamen", "Wenzhou", "深圳市", "Qingdao", "Foshan", "上海",
    "Hangzhou", "Wuxi", "宁波", "Zhuhai", "Kunshan", "Jinan", "广州市",
)  # fmt: skip
_WORDS = (
    "Haitian", "Golden Bridge", "华强", "Everbright", "Lucky Star", "精密", "Red Sun", "Jinlong",
    "Great Wall", "永利", "Sunrise", "Hengtong", "East Ocean", "Double Happiness",
)  # fmt: skip
_TRADES = (
    "Plastics Co., Ltd.", "Precision Mould", "电子有限公司", "Hardware Factory", "Castings Ltd",
    "机械有限公司", "Electronics Co.,Ltd", "Fasteners", "Textiles & Seals", "Metal Works",
)  # fmt: skip
CUSTOMERS = (
    "", "Müller & Söhne GmbH", "O'Brien Pumps Ltd", "上海电气集团", "Łódź Meble S.A.",
    "Nordic Drives AB", "Société Générale des Eaux", "西门子(中国)", "Baker 100% Tools", "Kärcher",
    "J. de Vries B.V.", "Fratelli Rossi S.p.A.",
)  # fmt: skip
_FAMILIES = ("PUMP HOUSING", "VALVE", "SEAL KIT", "", "BEARING", "ROTOR", "SCREW SET", "密封圈")
_ITEMS = ("Pumps", "Valves", "Seals", "Bearings", "Motors", "Fasteners")


class Article(NamedTuple):
    """What a supplier makes, under the code that the ERP uses."""

    code: str
    family: str
    own_sku: str
    step: Decimal


class XrefRow(NamedTuple):
    """One entry of the cross-reference; supplier code None: for any supplier without its own."""

    supplier_code: str | None
    item_code: str
    sku: str
    item: str


@dataclass(slots=True)
class Vendor:
    code: str
    name: str
    articles: list[Article] = field(default_factory=list)


class Market:
    """Every code and name of the world, and which item codes somebody has mapped."""

    def __init__(self, random: Random, suppliers: int, articles_each: int) -> None:
        self._random = random
        self._articles_made = 0
        self.xref: dict[tuple[str | None, str], XrefRow] = {}
        self.vendors: list[Vendor] = []
        standard = [self._article("STD") for _ in range(max(2, articles_each // 4))]
        for article in standard[1:]:
            self._map(None, article.code)
        for number in range(1, suppliers + 1):
            # One supplier has no name until somebody gives it one.
            vendor = Vendor(f"V{number:04d}", self.new_name() if number != suppliers else "")
            vendor.articles.extend(random.sample(standard, 2))
            # A supplier's own entry goes before the one for any supplier.
            if number % 2:
                self._map(vendor.code, vendor.articles[0].code)
            self.vendors.append(vendor)
            for _ in range(articles_each):
                self.new_article(vendor, mapped=random.random() > 0.02)

    def new_article(self, vendor: Vendor, *, mapped: bool) -> Article:
        """An article the supplier makes from now on."""
        article = self._article("ITM")
        vendor.articles.append(article)
        if mapped:
            self._map(vendor.code, article.code)
        return article

    def new_name(self, instead_of: str = "") -> str:
        """A supplier's name, other than the one it has."""
        name = instead_of
        while name == instead_of:
            name = " ".join(self._random.choice(part) for part in (_PLACES, _WORDS, _TRADES))
        return name

    def lookup(self, supplier_code: str, item_code: str) -> XrefRow | None:
        """The entry that holds for a supplier's item code, or None: a gap."""
        own = self.xref.get((supplier_code, item_code))
        return own or self.xref.get((None, item_code))

    def map_code(self, supplier_code: str, item_code: str) -> XrefRow:
        """Somebody closes a gap."""
        return self._map(supplier_code, item_code)

    def _map(self, supplier_code: str | None, item_code: str) -> XrefRow:
        sku = f"SKU-{len(self.xref) + 1:06d}"
        row = XrefRow(supplier_code, item_code, sku, self._random.choice(_ITEMS))
        self.xref[supplier_code, item_code] = row
        return row

    def _article(self, prefix: str) -> Article:
        self._articles_made += 1
        number = self._articles_made
        own_sku = f"E{number:05d}" if self._random.random() < 0.05 else ""
        step = GRAM if self._random.random() < 0.2 else PIECE
        family = self._random.choice(_FAMILIES)
        return Article(f"{prefix}-{number:05d}", family, own_sku, step)
