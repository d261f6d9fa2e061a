-- AdventureWorks' purchase-order lines as one relation, for docs/examples/adventureworks_view.toml.
-- An administrator of the ERP database runs this once and lets PO Tracking's login read the view.
--
-- The names are those of the SQLite copy that `manage.py load_adventureworks` makes. On SQL Server
-- put the schema before each name: dbo.vPurchaseOrderLines, Purchasing.PurchaseOrderDetail,
-- Purchasing.PurchaseOrderHeader, Purchasing.Vendor, Production.Product,
-- Production.ProductSubcategory.

CREATE VIEW vPurchaseOrderLines AS
SELECT
    line.PurchaseOrderID,
    line.PurchaseOrderDetailID,
    vendor.AccountNumber AS VendorAccount,
    vendor.Name AS VendorName,
    product.ProductNumber,
    family.Name AS ProductFamily,
    line.OrderQty,
    line.ReceivedQty - line.RejectedQty AS DeliveredQty,
    head.Status,
    line.DueDate,
    -- ModifiedDate is the day of the receipt once something has been received; before that it is
    -- the day the line was entered, which is no receipt.
    CASE WHEN line.ReceivedQty > 0 THEN line.ModifiedDate END AS InDate,
    head.OrderDate
FROM PurchaseOrderDetail AS line
-- One row per line: every join goes from many to one. Left joins lose no line where a row is missing.
LEFT JOIN PurchaseOrderHeader AS head ON head.PurchaseOrderID = line.PurchaseOrderID
LEFT JOIN Vendor AS vendor ON vendor.BusinessEntityID = head.VendorID
LEFT JOIN Product AS product ON product.ProductID = line.ProductID
LEFT JOIN ProductSubcategory AS family
    ON family.ProductSubcategoryID = product.ProductSubcategoryID;
